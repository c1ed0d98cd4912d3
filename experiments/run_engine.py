"""Runs an exported model in an inference engine on given token windows and prints the NLL as JSON. `longrope export --with
ENGINE` runs it; it needs nothing but that engine.

    python3 experiments/run_engine.py --check transformers|llama.cpp
    python3 experiments/run_engine.py --run transformers|llama.cpp REQUEST.json

REQUEST.json: {"model": PATH, "lengths": [[{"tokens": [...], "first_scored": K}, ...], ...]}: for each length its windows, all of that
length; targets at positions K to the end of a window are scored. Exit code 3 and the reason on stdout: the engine is not
installed.
"""
import importlib.util
import json
import math
import sys

MISSING = 3


def with_transformers(request):
    import torch
    import transformers
    load = transformers.AutoModelForCausalLM.from_pretrained
    try:
        model = load(request["model"], dtype=torch.float32, attn_implementation="eager")
    except TypeError:  # before 4.56
        model = load(request["model"], torch_dtype=torch.float32, attn_implementation="eager")
    model.eval()
    results = []
    for windows in request["lengths"]:
        total, count = 0.0, 0
        for window in windows:
            tokens, first = torch.tensor([window["tokens"]]), window["first_scored"]
            with torch.no_grad():
                logits = model(tokens, use_cache=False).logits[0, first - 1:-1].double()
            total += torch.nn.functional.cross_entropy(logits, tokens[0, first:], reduction="sum").item()
            count += tokens.shape[1] - first
        results.append({"nll_nats": total, "tokens": count})
    return f"transformers {transformers.__version__}", results


def with_llama_cpp(request):
    import ctypes

    import llama_cpp as lib
    import numpy as np
    lib.llama_backend_init()
    quiet = lib.llama_log_callback(lambda level, text, data: sys.stderr.write(text.decode("utf-8", "replace")) if level >= 4 else None)
    lib.llama_log_set(quiet, ctypes.c_void_p(0))
    model = lib.llama_model_load_from_file(request["model"].encode(), lib.llama_model_default_params())
    if not model:
        raise SystemExit("llama.cpp does not load this file")
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    results = []
    for windows in request["lengths"]:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = len(windows[0]["tokens"])  # this decides which table is used
        parameters.type_k = parameters.type_v = 0  # float32, as ours
        parameters.flash_attn_type = 0
        context = lib.llama_init_from_model(model, parameters)
        if not context:
            raise SystemExit("llama.cpp makes no context of this length")
        total, count = 0.0, 0
        for window in windows:
            tokens, first = window["tokens"], window["first_scored"]
            lib.llama_memory_clear(lib.llama_get_memory(context), True)
            batch = lib.llama_batch_init(len(tokens), 0, 1)
            batch.n_tokens = len(tokens)
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i] = token, i
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                batch.logits[i] = first - 1 <= i < len(tokens) - 1
            if lib.llama_decode(context, batch) != 0:
                raise SystemExit("llama.cpp failed to decode")
            for target in range(first, len(tokens)):
                logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, target - 1), (vocabulary,)).astype(np.float64)
                most = logits.max()
                total += math.log(np.exp(logits - most).sum()) + most - logits[tokens[target]]
                count += 1
            lib.llama_batch_free(batch)
        lib.llama_free(context)
        results.append({"nll_nats": float(total), "tokens": count})
    return f"llama.cpp (llama-cpp-python {lib.__version__})", results


def main():
    action, engine = sys.argv[1:3]
    for module in ("torch", "transformers") if engine == "transformers" else ("llama_cpp", "numpy"):
        if importlib.util.find_spec(module) is None:
            print(f"no module named {module}", end="")
            return MISSING
    if action == "--run":
        with open(sys.argv[3]) as file:
            request = json.load(file)
        name, results = (with_transformers if engine == "transformers" else with_llama_cpp)(request)
        print(json.dumps({"engine": name, "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
