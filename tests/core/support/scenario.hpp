// A small system for tests to start from: three domains, threads on both cores, endpoints,
// notifications, a guest with two virtual CPUs, interrupts. Made by hypercalls of the root task
// only. Every domain holds all capabilities, under the same selectors.
#pragma once
#include "simulation.hpp"
#include <horos/abi/boot_page.hpp>

namespace horos::test {

namespace sel {
using namespace root_selector;
inline constexpr u32 domain1 = 10, domain2 = 11, space1 = 12, space2 = 13, guest = 14;
inline constexpr u32 thread0 = thread; // root's, core 0, position 15
inline constexpr u32 thread1 = 20, thread2 = 21, thread3 = 22, thread4 = 23;
inline constexpr u32 sc1 = 24, sc2 = 25, sc3 = 26, sc4 = 27;
inline constexpr u32 note1 = 28, note2 = 29, note3 = 30, endpoint0 = 31, endpoint1 = 32;
inline constexpr u32 vcpu1 = 33, vcpu2 = 34, irq = 35, msi = 36, ports_part = 37, mmio_part = 38;
inline constexpr u32 shared_frame = 39, shared_block = 40, guest2 = 41, vcpu3 = 42;
inline constexpr u32 last = 42;
inline constexpr u32 free = 64; // from here on nothing is taken (256 slots in the first table)
} // namespace sel

inline constexpr Frame scenario_first = 80;                      // frames that it uses
inline constexpr Frame pool_first = 180, pool_end = 240;         // root's, unused; split block
inline constexpr Frame domain1_first = 240, domain2_first = 280; // 40 frames each
inline constexpr Block root_block = 1, domain1_block = 2;        // whole

class Scenario {
public:
    Simulation s;

    // Root's threads only are started: thread 0 on core 0. The others have time but no code yet.
    void build(const MachineOptions& options = {});
    // Starts a thread (by root on core 0).
    void start(u32 thread_selector);
    // A hypercall of core 0's (or `core`'s) thread that must succeed.
    Outcome must(Call call, const Registers6& arguments, u32 core = 0);
    // Frame that a selector of the root domain names.
    Frame object(u32 selector) const;
    Frame take_frame() { return next_++; }

private:
    Frame next_ = scenario_first;
    void make_domains();
    void make_spaces();
    void make_thread(u32 thread, u32 sc, u32 domain, u32 space, u32 core, u32 position);
    void make_vcpu(u32 vcpu, u32 space);
    void make_devices();
    void share();
};

} // namespace horos::test
