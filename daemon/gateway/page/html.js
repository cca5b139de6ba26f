// What every view draws with: Preact's hooks and tagged templates in place of JSX, so that nothing has to be built.
import { h, Fragment, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { Fragment, render };
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
