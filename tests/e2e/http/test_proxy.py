"""nginx with TLS before the gateway, as docs/how-to/tls-and-users.md has it; on a machine that has nginx."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from daemon.gateway.tokens import TokenFile
from deploy import services
from tests.docs.place import blocks
from tests.e2e.conftest import MakeModel, Served
from tests.e2e.http.gateway import Gateway, request, stream
from tests.waiting import until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(NGINX is None, reason="there is no nginx here (Debian: apt-get install nginx)"),
]
SITE_IN = """daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {paths}
    include {folder}/site;
}}
"""
PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def configuration(folder: Path, gateway: Gateway, port: int) -> Path:
    """The page's site with the ports and the certificate of here."""
    (site,) = blocks("tls-and-users.md", "nginx")
    for text, by in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("trainer.example.org", "localhost"),
        ("/etc/nginx/tls", str(folder)),
        ("http://127.0.0.1:8000", gateway.url),
    ):
        assert text in site
        site = site.replace(text, by)
    (folder / "site").write_text(site)
    names = " ".join(f"{name}_temp_path {folder}/{name};" for name in PATHS)
    whole = folder / "nginx.conf"
    whole.write_text(SITE_IN.format(folder=folder, paths=names))
    return whole


def certificate(folder: Path) -> ssl.SSLContext:
    """A certificate for this machine, and who trusts it."""
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "server-key.pem", "-out", "server.pem"]
    subprocess.run([*argv.split(), *named], cwd=folder, capture_output=True, check=True)
    return ssl.create_default_context(cafile=str(folder / "server.pem"))


async def test_a_proxy_with_tls(served: Served, make_model: MakeModel, data: str, tmp_path: Path) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    trusted, port = certificate(folder), services.free_port()
    argv = (str(NGINX), "-p", str(folder), "-c", str(configuration(folder, served.gateway, port)))
    process = await asyncio.create_subprocess_exec(*argv)
    url = f"https://localhost:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, verify=trusted, trust_env=False, timeout=60) as http:
            through = Gateway(served.gateway.process, url, http, served.gateway.log_path)
            await until(through.ready)
            refused = await through.get("/training/all/jobs", 403)
            assert "through a proxy" in refused["detail"]
            token = TokenFile(tmp_path / "tokens.json").add("alice", "submit", "guest")
            await through.get("/training/all/jobs", 401)
            http.headers["Authorization"] = f"Bearer {token}"
            order = request(make_model(steps=5, hold_at=2), data, start=True)
            told: list[str] = []
            job_id = (await through.post("/training/llm/jobs", order))["job_id"]
            await served.found.status(job_id, "running")
            async with asyncio.timeout(60), http.stream("GET", f"/training/jobs/{job_id}/stream") as response:
                async for name, _number, event in stream(response.aiter_lines()):
                    if event.get("data", {}).get("status") == "running":  # nothing is kept back: the job waits for this
                        (tmp_path / "model" / "go").touch()
                    told = [*told, name]
            assert told[-1] == "end"
            assert (await through.get(f"/training/jobs/{job_id}"))["state"] == "completed"
    finally:
        process.terminate()
        await process.wait()
