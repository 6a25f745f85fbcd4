// The few privileged instructions of the two enter.cpp, which fault in a host process, carried
// out on a register set of our own.
#pragma once
#include <cstdint>
#include <ucontext.h>

namespace horos::test {

struct PrivilegedRegisters {
    std::uint64_t cr[16];
    std::uint64_t dr[8];
    std::uint64_t xcr0;
};
PrivilegedRegisters& privileged(); // of the executing core

// Carries out the instruction at the context's RIP if it is one of them.
bool emulate_privileged(ucontext_t* context);

} // namespace horos::test
