// Statements about virtual CPUs on VMX. What is in a VMCS itself is not in memory that the kernel
// reads: of that the theorems speak by what was written (proofs/theorems/vmx_guard.cpp).
#include "kernel/core/frames.hpp"
#include "kernel/vmx/vmx.hpp"
#include "spec/invariants.hpp"
#include "spec/state.hpp"

namespace horos::spec {

static bool has(u32 controls, u32 mandatory) { return (controls & mandatory) == mandatory; }

// What vmx_init finds out about the processor.
bool inv_vmx_limits() {
    const VmxControls& c = vmx_limits.controls;
    return machine.vendor != core::Vendor::vmx ||
           (has(c.pin, mandatory_vmx::pin_controls) && has(c.proc, mandatory_vmx::proc_controls) &&
            has(c.proc2, mandatory_vmx::proc_controls_2) &&
            has(c.exit, mandatory_vmx::exit_controls) &&
            has(c.entry, mandatory_vmx::entry_controls) && vmx_limits.timer_shift <= 31 &&
            vmx_limits.virtual_apics <= virtual_apic::known);
}

bool inv_vmx_vcpu(Frame f) {
    const VmxState& v = vcpus[f].vmx;
    const bool page =
        v.apic_page == 0 || (is(v.apic_page, ObjectType::ram) && v.apic_page != vcpus[f].state);
    return machine.vendor != core::Vendor::vmx ||
           (v.virtual_apic <= virtual_apic::task_priority &&
            (v.virtual_apic & (v.virtual_apic - 1)) == 0 && page &&
            has(v.proc_controls, mandatory_vmx::proc_controls));
}

bool inv_vmx_core(u32 core) {
    const Frame f = cores[core].control;
    return machine.vendor != core::Vendor::vmx || f == 0 || is(f, ObjectType::vmcb);
}

} // namespace horos::spec
