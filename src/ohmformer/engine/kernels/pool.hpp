// A pool of threads that share one job at a time, cut into numbered parts.
#pragma once
#include <functional>

namespace ohm {
// Runs job(part) for part = 0 ... parts - 1 on up to `threads` threads, the caller among them.
// Which thread runs which part never changes what a part computes.
void parallel(long parts, int threads, const std::function<void(long)>& job);
}  // namespace ohm
