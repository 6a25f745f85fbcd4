// Virtual CPUs as objects, their permission maps, and the loop that runs them.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// Runs the virtual CPU of the core's thread until its VMM must see an exit, or the core must run
// something else. The result word is that of a hypercall. The lock is held at both ends.
extern "C" u64 core_run_guest(u32 core);

Error vcpu_create(const Caller&, const VcpuCreateArgs&);
u64 vcpu_run(const Caller&, const VcpuRunArgs&, Values&);
Error space_io_map(const Caller&, const SpaceIoMapArgs&);
Error space_msr_map(const Caller&, const SpaceMsrMapArgs&);
Error guest_port(const Caller&, const GuestPortArgs&);
Error guest_msr(const Caller&, const GuestMsrArgs&);

} // namespace horos::core
