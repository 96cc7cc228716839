// Threads that run passes: a bounded number of passes at a time, whoever asks for them.
#pragma once
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "forward.h"

namespace fastrag_quant {

// A pass that a thread of the pool runs; wait() for it exactly once.
struct Job {
  explicit Job(const Pass& pass) : pass(pass) {}
  Pass pass;
  bool done = false;
  std::exception_ptr error;
};

class Pool {
 public:
  // threads: passes at a time. pin: each thread of the pool keeps to one of the cores that the process may use.
  Pool(int threads, bool pin);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Run a pass in the calling thread as soon as one may run, with the help of threads that have nothing to do.
  void run(const Pass&);

  void submit(Job&);
  void wait(Job&);

 private:
  struct Open {  // a pass whose team has room
    const Pass* pass;
    Team* team;
    Scratch* scratch;
  };
  // What a fork makes anew in the child, where the threads are not.
  struct State {
    std::mutex mutex;
    std::condition_variable work, done;
    std::deque<Job*> jobs;
    std::vector<Open> open;
    std::vector<Scratch*> free;
    std::vector<pthread_t> threads;
    bool closing = false;
  };

  static void* work(void*);
  void work_until_closed();
  void start_threads(std::unique_lock<std::mutex>&);
  Scratch* take(std::unique_lock<std::mutex>&, std::condition_variable&);
  void give_back(Scratch*);
  void help(Open, std::unique_lock<std::mutex>&);
  void wake_helpers(const Team&);
  void pin_to_core(size_t index);

  static void before_fork();
  static void after_fork_in_parent();
  static void after_fork_in_child();

  const int threads_;
  const bool pin_;
  std::vector<std::unique_ptr<Scratch>> scratch_;
  State* state_;
};

}  // namespace fastrag_quant
