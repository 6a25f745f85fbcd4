// A machine that runs the kernel core: what the entry code (kernel/arch/entry.S, shell.cpp) does
// around it, with tests in the place of user programs and guests.
#pragma once
#include "fake_shell.hpp"
#include "kernel/core/entry.hpp"
#include "kernel/svm/svm.hpp"
#include "state_memory.hpp"
#include <functional>
#include <horos/abi/gen/calls.hpp>
#include <initializer_list>

namespace horos::test {

using Registers6 = std::array<u64, 6>;

// What a hypercall answered. `known` is false while it blocks.
struct Outcome {
    bool known;
    Error error;
    Values values;
    bool ok() const { return known && error == Error::ok; }
};

struct MachineOptions {
    u32 core_count = 2;
    u32 tlb_tags = 4; // few, so that they are used up often
    bool has_next_rip = true;
    bool has_decode_assist = true;
};

inline constexpr u32 first_reserved = 1536 + 64; // frames [1536, 1600 + ...) are a hole
inline constexpr u32 root_first_frame = 64;

class Simulation {
public:
    RootTask root;

    // Boots a machine of five blocks: two split ones, two whole ones, one that is no RAM.
    void boot(const MachineOptions& options = {});

    // The user program that runs on a core makes a hypercall. Afterwards the core has gone on to
    // whatever is next.
    Outcome call(u32 core, Call number, const Registers6& arguments);
    Outcome call_number(u32 core, u64 number, const Registers6& arguments);

    // Events on a core that is idle or in user mode.
    void interrupt(u32 core, u8 vector);
    void timer(u32 core);
    void reschedule(u32 core);
    void fault(u32 core, u64 vector, u64 error, u64 address);

    // Called for the hypercall's result before the core goes on; `changed_guest` tells that others
    // had the lock in between.
    std::function<void(u32 core, Call, const Registers6&, const Outcome&)> after_call;
    // Stands for the guest: looks at the control block, sets the exit.
    std::function<void(u32 core, svm::Vmcb&)> guest;

    // What the latest blocking call of a thread answered, once it has.
    static Outcome answer_of(Frame thread);

    static bool is_user(u32 core) { return shell.cores[core].mode == CoreMode::user; }
    u64 guest_entries = 0;
    bool lock_was_free = false; // since the latest call began

private:
    void event(u32 core, const char* name, const std::function<void()>& specified,
               const std::function<void()>& what);
    void go_directly(u32 core, Frame thread);
    void resume(u32 core);
};

extern Simulation* simulation; // that runs now

} // namespace horos::test
