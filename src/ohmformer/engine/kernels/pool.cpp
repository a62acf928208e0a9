#include "pool.hpp"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ohm {
namespace {

struct Job {
  const std::function<void(long)>* run;
  long parts;
  int seats;  // workers that may still join
  std::atomic<long> next{0};
  std::atomic<long> done{0};
};

void work(Job& job) {
  for (long part; (part = job.next.fetch_add(1)) < job.parts;) {
    (*job.run)(part);
    job.done.fetch_add(1);
  }
}

struct Pool {
  std::mutex lock;
  std::condition_variable called;
  std::shared_ptr<Job> current;
  unsigned long number = 0;
  int workers = 0;
  pid_t owner = getpid();

  void serve() {
    unsigned long seen = 0;
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> held(lock);
        called.wait(held, [&] { return number != seen; });
        seen = number;
        if (!current || current->seats <= 0) continue;
        current->seats--;
        job = current;
      }
      work(*job);
    }
  }
};

// Never destroyed: its threads sleep until the process ends. After a fork the child makes its own.
Pool& pool() {
  static Pool* only = nullptr;
  static std::mutex making;
  std::lock_guard<std::mutex> held(making);
  if (!only || only->owner != getpid()) only = new Pool;
  return *only;
}

std::mutex& turn() {
  static auto* one = new std::mutex;
  return *one;
}

}  // namespace

void parallel(long parts, int threads, const std::function<void(long)>& job) {
  if (threads > parts) threads = static_cast<int>(parts);
  std::unique_lock<std::mutex> mine(turn(), std::defer_lock);
  // a second caller at the same time simply works alone
  if (threads <= 1 || !mine.try_lock()) {
    for (long part = 0; part < parts; part++) job(part);
    return;
  }
  Pool& shared = pool();
  auto task = std::make_shared<Job>();
  task->run = &job;
  task->parts = parts;
  task->seats = threads - 1;
  {
    std::lock_guard<std::mutex> held(shared.lock);
    while (shared.workers < threads - 1) {
      std::thread([&shared] { shared.serve(); }).detach();
      shared.workers++;
    }
    shared.current = task;
    shared.number++;
  }
  shared.called.notify_all();
  work(*task);
  while (task->done.load() < parts) std::this_thread::yield();
  std::lock_guard<std::mutex> held(shared.lock);
  shared.current.reset();
}

}  // namespace ohm
