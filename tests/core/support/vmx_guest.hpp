// One virtual CPU of a VMX machine whose VMCS is a map of fields, ready to enter 64-bit code.
#pragma once
#include "fake_shell.hpp"
#include "fake_vmx.hpp"
#include "scenario.hpp"
#include <memory>

namespace horos::test {

using vmx::Field;
using vmx::RuleId;

class VmxGuest {
public:
    // `pin`: pin-based controls of the processor besides those that are mandatory.
    explicit VmxGuest(u32 pin = 0) {
        vcpu_ = fresh_vcpu();
        fake_vmx.reset();
        machine.vendor = core::Vendor::vmx;
        vmx_limits.cr4 = 0x0037'07ff;
        vmx_limits.cr0_fixed = x86::cr0::NE;
        vmx_limits.controls = {mandatory_vmx::pin_controls | 0x16 | pin,
                               mandatory_vmx::proc_controls | vmx::proc::MOV_DR_EXITING,
                               mandatory_vmx::proc_controls_2, mandatory_vmx::exit_controls,
                               mandatory_vmx::entry_controls};
        vmx_limits.revision = 0x2b;
        vmx_limits.any_length = 1;
        vmx_init_vcpu(vcpu_);
        page() = {};
        good();
    }
    ~VmxGuest() {
        machine.vendor = core::Vendor::svm;
        fake_vmx.reset();
    }

    VcpuState& page() { return state_pages[vcpus[vcpu_].state].state; }
    Vcpu& vcpu() { return vcpus[vcpu_]; }
    FakeVmcs& vmcs() { return fake_vmx.vmcss[u64{vcpus[vcpu_].control} << frame_bits]; }
    u64 field(Field f) { return vmcs().fields.at(vmx::encoding(f)); }
    u32 take() { return vmx_take_state(vcpu_); }
    // One entry. The host's part of the VMCS counts as written: it comes from instructions that
    // only a kernel can execute.
    ExitReason enter() {
        vcpu().vmx.host_core = shell.core + 1;
        vcpu().core = shell.core;
        cores[shell.core].fpu_owner = vcpu_;
        return vmx_enter(shell.core, vcpu_);
    }

    // 64-bit code, as Linux is entered.
    void good() {
        VcpuState& s = page();
        s.rflags = x86::rflags::ONE;
        s.rip = 0x10'0000;
        s.cr0 = x86::cr0::PE | x86::cr0::ET | x86::cr0::NE | x86::cr0::PG;
        s.cr3 = 0x1000;
        s.cr4 = x86::cr4::PAE;
        s.efer = x86::efer::LME | x86::efer::LMA;
        const Segment data{0x18, 0xc93, ~u32{0}, 0};
        s.cs = {0x10, 0xa9b, ~u32{0}, 0};
        s.ds = s.es = s.ss = s.fs = s.gs = data;
        s.ldtr = {0, 0x082, 0xffff, 0};
        s.tr = {0, 0x08b, 0xffff, 0};
        s.gdtr = {0, 0, 31, 0x500};
        s.idtr = {0, 0, 0, 0};
        s.dr6 = 0xffff'0ff0;
        s.dr7 = 0x400;
        s.pat = x86::PAT_RESET;
        s.xcr0 = 1;
        s.dirty = group::all;
    }

private:
    // A machine costs half a second, and nothing here leaves traces beyond these.
    struct Machine {
        Scenario scenario;
        Frame vcpu = 0;
        Vcpu vcpu_before;
        Core core_before;
    };
    static Frame fresh_vcpu() {
        static std::unique_ptr<Machine> m;
        if (!m || simulation != &m->scenario.s) { // another test has had the memory
            m = std::make_unique<Machine>();
            m->scenario.build();
            m->vcpu = m->scenario.object(sel::vcpu1);
            m->vcpu_before = vcpus[m->vcpu];
            m->core_before = cores[shell.core];
        }
        vcpus[m->vcpu] = m->vcpu_before;
        cores[shell.core] = m->core_before;
        return m->vcpu;
    }

    Frame vcpu_;
};

} // namespace horos::test
