// The devices a job runs on, each with the model on it: tasks go to whichever is free, a device that fails is retired
// and its tasks are run again on the others. What a task computes must not depend on the device it runs on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "model/transformer.hpp"

namespace longrope::search {

/// One device. Windows that run at once on a GPU are streams of their own there, each fed by one thread.
struct DeviceLane {
  std::string name;  ///< in messages
  std::shared_ptr<const kernels::Backend> backend;
  std::shared_ptr<const model::Transformer> transformer;  ///< on `backend`
  std::int64_t windows_at_once = 1;                       ///< see MemoryPlan
  /// The device's own arena of windows_at_once threads, where threads only feed the device. False on the CPU: its
  /// operations use all threads of the caller's arena, whatever number of windows runs.
  bool feeds_device = false;
};

class DeviceLanes {
 public:
  /// lanes: at least one, all with the same checkpoint. warn: called with one line when a device is retired, from any
  /// thread; may be empty.
  explicit DeviceLanes(std::vector<DeviceLane> lanes, std::function<void(const std::string&)> warn = {});
  /// One lane without limits on a transformer that outlives this: all windows at once that there are threads for.
  explicit DeviceLanes(const model::Transformer& transformer);
  DeviceLanes(const DeviceLanes&) = delete;
  DeviceLanes& operator=(const DeviceLanes&) = delete;

  std::size_t size() const { return lanes_.size(); }
  const DeviceLane& lane(std::size_t index) const { return lanes_[index]; }
  /// Of the first lane: config, parameters and digests are the same on all.
  const model::Transformer& transformer() const { return *lanes_.front().transformer; }

  /// How many tasks run at once, on all lanes that are in use, with the threads that the caller's arena offers.
  std::int64_t workers() const;

  /// What a task does: body(task, lane). It throws RuntimeError where the device failed; nothing it did before may then
  /// count, for it is called again with another lane.
  using Body = std::function<void(std::size_t task, std::size_t lane)>;
  /// What becomes of a task whose device failed when no other is left: failed(task, reason).
  using Failed = std::function<void(std::size_t task, const std::string& reason)>;

  /// Runs tasks 0 .. tasks - 1, taken in this order, on all devices at once, lane.windows_at_once of them on each, and
  /// returns when all are done. A lane whose task throws RuntimeError is retired for good, unless it is the last one:
  /// then the task is `failed` and the lane goes on, if its device still answers. Ends early, without an error, once
  /// *stop is true (null: never). Throws RuntimeError when the last device does not answer any more, and what else a
  /// body throws.
  void run(std::size_t tasks, const Body& body, const Failed& failed, const std::atomic<bool>* stop) const;

 private:
  struct Queue;
  void work(std::size_t lane, Queue& queue) const;
  void attempt(std::size_t lane, std::size_t task, Queue& queue) const;
  /// False if it was the last one.
  bool retire(std::size_t lane, const std::string& reason) const;
  bool retired(std::size_t lane) const { return retired_[lane].load(std::memory_order_relaxed); }

  std::vector<DeviceLane> lanes_;
  std::function<void(const std::string&)> warn_;
  mutable std::mutex retire_mutex_;
  mutable std::vector<std::atomic<bool>> retired_;
};

}  // namespace longrope::search
