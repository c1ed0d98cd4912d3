#include "experiments/benchmarks/strategies/broker.hpp"

#include <chrono>
#include <utility>

namespace longrope::bench {
namespace {

constexpr std::chrono::milliseconds kGather{5};

}  // namespace

Broker::Broker(MemoCache::Evaluate evaluate) : evaluate_(std::move(evaluate)), thread_([this] { serve(); }) {}

Broker::~Broker() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  asked_.notify_all();
  thread_.join();
}

void Broker::expect(std::size_t runs) {
  const std::lock_guard lock(mutex_);
  expected_ = runs;
}

std::vector<Score> Broker::score(std::span<const search::Candidate> candidates) {
  Request request;
  request.candidates = candidates;
  std::unique_lock lock(mutex_);
  queue_.push_back(&request);
  asked_.notify_all();
  answered_.wait(lock, [&] { return request.done; });
  if (request.error) std::rethrow_exception(request.error);
  return std::move(request.scores);
}

void Broker::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    asked_.wait(lock, [this] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    asked_.wait_for(lock, kGather, [this] { return ending_ || queue_.size() >= expected_; });
    const std::vector<Request*> batch = std::exchange(queue_, {});
    lock.unlock();
    answer(batch);
    lock.lock();
    for (Request* request : batch) request->done = true;
    answered_.notify_all();
  }
}

void Broker::answer(const std::vector<Request*>& batch) {
  try {
    std::vector<search::Candidate> candidates;
    for (const Request* request : batch)
      candidates.insert(candidates.end(), request->candidates.begin(), request->candidates.end());
    const std::vector<Score> scores = memo_.score(candidates, evaluate_);
    auto next = scores.begin();
    for (Request* request : batch) {
      const auto end = next + static_cast<std::ptrdiff_t>(request->candidates.size());
      request->scores.assign(next, end);
      next = end;
    }
  } catch (...) {
    for (Request* request : batch) request->error = std::current_exception();
  }
}

}  // namespace longrope::bench
