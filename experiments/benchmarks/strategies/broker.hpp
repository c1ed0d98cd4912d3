// Gathers what parallel runs ask for into one evaluation, so that a GPU or many cores are kept busy also by algorithms
// that ask for one candidate at a time.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "experiments/benchmarks/strategies/memo.hpp"

namespace longrope::bench {

class Broker {
 public:
  /// `evaluate` is called from one thread of the broker's own, never twice at once.
  explicit Broker(MemoCache::Evaluate evaluate);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// Scores in order, when the evaluation they were part of is done; rethrows what it threw. Thread-safe.
  std::vector<Score> score(std::span<const search::Candidate> candidates);

  /// Tells how many runs may ask at the same time: a batch waits a few milliseconds for those that have not.
  void expect(std::size_t runs);

 private:
  struct Request {
    std::span<const search::Candidate> candidates;
    std::vector<Score> scores;
    std::exception_ptr error;
    bool done = false;
  };
  void serve();
  void answer(const std::vector<Request*>& batch);

  MemoCache::Evaluate evaluate_;
  MemoCache memo_;
  std::mutex mutex_;
  std::condition_variable asked_, answered_;
  std::vector<Request*> queue_;
  std::size_t expected_ = 1;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace longrope::bench
