// VMRUN: checks everything that must hold at an entry, then lets the test be the guest.
#include "privileged.hpp"
#include "refinement.hpp"
#include "simulation.hpp"
#include "spec/invariants.hpp"
#include "tlb.hpp"
#include "violation.hpp"

extern "C" horos::abi::u32 kernel_lock_word;

namespace horos::test {

static void require(bool holds, const char* what) {
    if (!holds)
        throw Violation(std::string("at VMRUN: ") + what);
}

static void check_entry(u32 core, Frame control, Frame vcpu) {
    const svm::ControlArea& c = vmcbs[control].control;
    const Vcpu& v = vcpus[vcpu];
    const Space& space = spaces[v.space];
    require(v.control == control, "the control block is not the running thread's");
    require(v.core == core, "the virtual CPU lives on another core");
    require(spec::inv_vmcb_intercepts(vcpu), "a mandatory intercept is off");
    require(spec::inv_vmcb_paging(vcpu), "nested paging is off or has other tables");
    require(spec::inv_vmcb_host_owned(vcpu), "a feature is on that only the host may use");
    require(spec::inv_vmcb_state(vcpu), "the state breaks a rule that the guard answers for");
    const Frame io = space.io_map != 0 ? space.io_map : machine.io_map;
    const Frame msr = space.msr_map != 0 ? space.msr_map : machine.msr_map;
    require(c.iopm_base_pa == u64{io} << frame_bits && c.msrpm_base_pa == u64{msr} << frame_bits,
            "a permission map is not that of the space");
    require(c.guest_asid != 0 && c.guest_asid < machine.tlb_tags, "the ASID is out of range");
    require(cores[core].fpu_owner == vcpu, "the FPU holds somebody else's state");
    require(privileged().xcr0 == v.xcr0, "XCR0 is not the guest's");
    require((cores_using(v.space) >> core & 1) != 0, "an unmap would not reach this core");
    tlb_enter(core, c.guest_asid, c.tlb_control, v.space);
}

} // namespace horos::test

namespace horos::core {

// The entry code's short way to another thread.
extern "C" u64 entry_switch(Thread& thread) {
    thread.regs.gpr[0] = 0;
    thread.regs.gpr[10] = 0;
    return result_switch | result_direct | static_cast<u64>(&thread - threads) << 32;
}

// Of a lock that is free here others make use: `guest` may run steps of other cores.
extern "C" [[clang::preserve_none]] void svm_run(u64 vmcb, u64*) {
    using namespace horos::test;
    const u32 core = shell.core;
    require(kernel_lock_word == 0, "the kernel lock is held while the guest runs");
    const Frame control = static_cast<Frame>(vmcb >> frame_bits);
    check_entry(core, control, threads[cores[core].thread].vcpu);
    simulation->guest_entries++;
    shell.cores[core].mode = CoreMode::guest;
    svm::Vmcb& b = vmcbs[control];
    b.control.exit_code = static_cast<u64>(svm::ExitCode::VMMCALL);
    b.control.exit_int_info = 0;
    if (simulation->guest)
        simulation->guest(core, b);
    simulation->lock_was_free = true;
    shell.core = core;
}

} // namespace horos::core

// The linker sends the kernel's calls of svm_enter here (--wrap).
extern "C" horos::abi::ExitReason __real__ZN5horos4core9svm_enterEjj(horos::abi::u32,
                                                                     horos::abi::u32);
extern "C" horos::abi::ExitReason __wrap__ZN5horos4core9svm_enterEjj(horos::abi::u32 core,
                                                                     horos::abi::u32 vcpu) {
    if (horos::test::Prediction::innermost != nullptr)
        horos::test::Prediction::innermost->compare_at_entry();
    return __real__ZN5horos4core9svm_enterEjj(core, vcpu);
}
