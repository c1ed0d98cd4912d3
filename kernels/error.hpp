// Errors of every layer. Message grammar: "[where] rule but got value (hint)".
// The command line maps InputError to exit code 2 and everything else to 1.
#pragma once

#include <stdexcept>
#include <string>

namespace longrope {

/// Base of every exception that crosses a public boundary of this project.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What the user gave is wrong: an option, a file's content, a shape. Trying again unchanged cannot help.
class InputError : public Error {
 public:
  using Error::Error;
};

/// The machine failed: disk full, no permission to write, out of memory, a device lost.
class RuntimeError : public Error {
 public:
  using Error::Error;
};

/// A signal asked the process to stop; what was finished is stored.
class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace longrope
