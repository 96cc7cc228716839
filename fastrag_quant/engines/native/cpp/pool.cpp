#include "pool.h"

#include <sched.h>

#include <algorithm>
#include <set>

namespace fastrag_quant {
namespace {

// All pools, for forks. Never destroyed: pools may outlive the library's static objects.
std::mutex& registry_mutex() {
  static std::mutex* mutex = new std::mutex;
  return *mutex;
}
std::set<Pool*>& registry() {
  static std::set<Pool*>* pools = new std::set<Pool*>;
  return *pools;
}

}  // namespace

Pool::Pool(int threads, bool pin) : threads_(threads), pin_(pin), state_(new State) {
  for (int i = 0; i < threads; i++) {
    scratch_.push_back(std::make_unique<Scratch>());
    state_->free.push_back(scratch_.back().get());
  }
  std::lock_guard<std::mutex> lock(registry_mutex());
  static const int registered = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)registered;
  registry().insert(this);
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(registry_mutex());
    registry().erase(this);
  }
  std::vector<pthread_t> threads;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->closing = true;
    threads.swap(state_->threads);
  }
  state_->work.notify_all();
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  delete state_;
}

void Pool::run(const Pass& pass) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  Scratch* scratch = take(lock, state_->done);
  const int most = most_members(pass.encoder, pass.tokens, threads_);
  Team team(most);
  if (most > 1) {
    start_threads(lock);
    state_->open.push_back({&pass, &team, scratch});
    wake_helpers(team);
  }
  lock.unlock();
  std::exception_ptr error;
  try {
    lead(pass, team, *scratch);
  } catch (...) {
    error = std::current_exception();
  }
  if (most > 1) {
    lock.lock();
    auto& open = state_->open;
    open.erase(std::remove_if(open.begin(), open.end(), [&](const Open& o) { return o.team == &team; }), open.end());
    lock.unlock();
  }
  team.dismiss();
  give_back(scratch);
  if (error) std::rethrow_exception(error);
}

void Pool::submit(Job& job) {
  {
    std::unique_lock<std::mutex> lock(state_->mutex);
    start_threads(lock);
    state_->jobs.push_back(&job);
  }
  state_->work.notify_one();
}

void Pool::wait(Job& job) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->done.wait(lock, [&] { return job.done; });
  if (job.error) std::rethrow_exception(job.error);
}

void* Pool::work(void* pool) {
  ((Pool*)pool)->work_until_closed();
  return nullptr;
}

void Pool::work_until_closed() {
  State& state = *state_;
  std::unique_lock<std::mutex> lock(state.mutex);
  for (;;) {
    const auto open = std::find_if(state.open.begin(), state.open.end(), [](const Open& o) { return o.team->room() > 0; });
    if (!state.free.empty() && !state.jobs.empty()) {
      Job* job = state.jobs.front();
      state.jobs.pop_front();
      Scratch* scratch = take(lock, state.work);
      lock.unlock();
      try {
        Team alone(1);
        lead(job->pass, alone, *scratch);
      } catch (...) {
        job->error = std::current_exception();
      }
      lock.lock();
      job->done = true;
      state.free.push_back(scratch);
      state.done.notify_all();
    } else if (!state.free.empty() && open != state.open.end()) {
      help(*open, lock);
    } else if (state.closing) {
      return;
    } else {
      state.work.wait(lock);
    }
  }
}

void Pool::help(Open open, std::unique_lock<std::mutex>& lock) {
  Scratch* own = take(lock, state_->work);
  try {
    reserve(*open.pass, *own);  // in the lock: the pass is there until its leader has taken it from the list
  } catch (const std::bad_alloc&) {
    state_->free.push_back(own);
    state_->done.notify_all();
    return;
  }
  const int member = open.team->join();
  wake_helpers(*open.team);
  lock.unlock();
  follow(*open.pass, *open.team, member, *own, *open.scratch);
  open.team->leave();
  lock.lock();
  state_->free.push_back(own);
  state_->done.notify_all();
}

// Each who is in a team wakes two more where there is room: nobody has to wake a whole machine.
void Pool::wake_helpers(const Team& team) {
  for (int i = std::min(2, team.room()); i > 0; i--) state_->work.notify_one();
}

Scratch* Pool::take(std::unique_lock<std::mutex>& lock, std::condition_variable& freed) {
  freed.wait(lock, [&] { return !state_->free.empty(); });
  Scratch* scratch = state_->free.back();
  state_->free.pop_back();
  return scratch;
}

void Pool::give_back(Scratch* scratch) {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->free.push_back(scratch);
  }
  state_->done.notify_all();
  state_->work.notify_one();
}

void Pool::start_threads(std::unique_lock<std::mutex>&) {
  while (state_->threads.size() < (size_t)threads_) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, work, this)) {
      if (!state_->threads.empty()) return;  // fewer threads are slower, not wrong
      throw std::bad_alloc();
    }
    state_->threads.push_back(thread);
    if (pin_) pin_to_core(state_->threads.size() - 1);
  }
}

void Pool::pin_to_core(size_t index) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  const int cores = CPU_COUNT(&allowed);
  int wanted = (int)(index % (size_t)std::max(cores, 1));
  for (int core = 0; core < CPU_SETSIZE; core++)
    if (CPU_ISSET(core, &allowed) && wanted-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      pthread_setaffinity_np(state_->threads[index], sizeof one, &one);
      return;
    }
}

void Pool::before_fork() {
  registry_mutex().lock();
  for (Pool* pool : registry()) pool->state_->mutex.lock();
}

void Pool::after_fork_in_parent() {
  for (Pool* pool : registry()) pool->state_->mutex.unlock();
  registry_mutex().unlock();
}

// The threads are not in the child, and passes that they ran end nowhere: start with all memory free. The old state is
// left where it is, for what waits inside its locks cannot be taken apart.
void Pool::after_fork_in_child() {
  for (Pool* pool : registry()) {
    pool->state_ = new State;
    for (auto& scratch : pool->scratch_) scratch = std::make_unique<Scratch>();
    for (auto& scratch : pool->scratch_) pool->state_->free.push_back(scratch.get());
  }
  registry_mutex().unlock();
}

}  // namespace fastrag_quant
