// Whether somebody looks. A browser has six connections for a host, so a page that nobody sees must not hold one.
const LEFT_MS = 2000; // who only leafs through the tabs keeps what stands

// Until the page is seen, or `signal` aborts.
export function shown(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

// A signal that aborts when the page has not been seen for a while; `end` stops watching.
export function watchLeaving() {
  const left = new AbortController();
  let timer = null;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => left.abort(), LEFT_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  const end = () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
  return { signal: left.signal, end };
}
