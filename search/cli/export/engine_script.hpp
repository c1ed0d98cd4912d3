// experiments/run_engine.py, built into the program: it runs an export in transformers or llama.cpp.
#pragma once

namespace longrope::cli {

extern const char* const kEngineScript;

}  // namespace longrope::cli
