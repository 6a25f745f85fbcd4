// A plain valid state to start from.
#include "horos/model/vmx/rules.hpp"

namespace horos::model::vmx {

namespace {

using F = Field;
using E = Extra;
using namespace horos::vmx;

void put_machine(RuleState& s) {
    s[E::VMX_OPERATION] = 1;
    s[E::CR0] = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    s[E::RFLAGS] = x86::rflags::ONE;
    s[E::EFER] = x86::efer::LME | x86::efer::LMA;
    s[E::CS_L] = 1;
    s[E::CURRENT_VMCS] = 0x1000;
}
void put_controls(RuleState& s, const Profile& p) {
    const auto controls = [](const Allowed& allowed, uint32_t wanted) {
        return (allowed.zero | wanted) & allowed.one;
    };
    s[F::PIN_CONTROLS] =
        controls(p.pin, pin::EXTERNAL_INTERRUPT_EXITING | pin::NMI_EXITING | pin::VIRTUAL_NMIS);
    s[F::PROC_CONTROLS] = controls(p.proc, proc::HLT_EXITING | proc::ACTIVATE_SECONDARY);
    s[F::PROC_CONTROLS_2] =
        controls(p.proc2, proc2::ENABLE_EPT | proc2::ENABLE_VPID | proc2::UNRESTRICTED_GUEST);
    s[F::EXIT_CONTROLS] = controls(p.exit, exit_ctl::HOST_64BIT | exit_ctl::ACKNOWLEDGE_INTERRUPT |
                                               exit_ctl::SAVE_EFER | exit_ctl::LOAD_EFER);
    s[F::ENTRY_CONTROLS] = controls(p.entry, entry_ctl::IA32E_MODE_GUEST | entry_ctl::LOAD_EFER);
    s[F::VPID] = 1;
    s[F::EPTP] = 0x2000 | eptp::TYPE_WB | eptp::WALK_4;
    s[F::IO_BITMAP_A] = 0x3000;
    s[F::IO_BITMAP_B] = 0x4000;
    s[F::MSR_BITMAP] = 0x5000;
    s[F::VIRTUAL_APIC_ADDRESS] = 0x6000;
    s[F::APIC_ACCESS_ADDRESS] = 0xfee00000;
    s[F::TSC_MULTIPLIER] = 1ull << 48;
    s[F::VMCS_LINK_POINTER] = NO_LINK_POINTER;
}
void put_host(RuleState& s) {
    s[F::HOST_CR0] = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    s[F::HOST_CR3] = 0x7000;
    s[F::HOST_CR4] = x86::cr4::PAE | x86::cr4::VMXE;
    s[F::HOST_EFER] = x86::efer::LME | x86::efer::LMA;
    s[F::HOST_PAT] = x86::PAT_RESET;
    s[F::HOST_CS_SELECTOR] = 0x08;
    s[F::HOST_SS_SELECTOR] = 0x10;
    s[F::HOST_TR_SELECTOR] = 0x18;
    s[F::HOST_RIP] = 0x100000;
    s[F::HOST_RSP] = 0x8000;
}
void put_guest(RuleState& s) {
    s[F::GUEST_CR0] = s[F::HOST_CR0];
    s[F::GUEST_CR3] = 0x9000;
    s[F::GUEST_CR4] = x86::cr4::PAE | x86::cr4::VMXE;
    s[F::GUEST_EFER] = x86::efer::LME | x86::efer::LMA;
    s[F::GUEST_PAT] = x86::PAT_RESET;
    s[F::GUEST_DR7] = x86::dr7::RESET;
    s[F::GUEST_RFLAGS] = x86::rflags::ONE;
    s[F::GUEST_RIP] = 0x200000;
    s[F::GUEST_RSP] = 0x300000;
    for (unsigned n = 0; n < SEGMENTS; ++n) {
        s[plus(F::GUEST_ES_LIMIT, n)] = 0xffffffff;
        s[plus(F::GUEST_ES_RIGHTS, n)] = rights_of(x86::seg::DATA32);
        s[plus(F::GUEST_ES_SELECTOR, n)] = 0x10;
    }
    s[F::GUEST_CS_SELECTOR] = 0x08;
    s[F::GUEST_CS_RIGHTS] = rights_of(x86::seg::CODE64 | x86::seg::G);
    s[F::GUEST_LDTR_SELECTOR] = 0;
    s[F::GUEST_LDTR_LIMIT] = 0xffff;
    s[F::GUEST_LDTR_RIGHTS] = rights_of(x86::seg::LDT);
    s[F::GUEST_TR_SELECTOR] = 0x18;
    s[F::GUEST_TR_LIMIT] = 0x67;
    s[F::GUEST_TR_RIGHTS] = rights_of(x86::seg::TSS_BUSY);
    s[F::GUEST_GDTR_LIMIT] = 0xffff;
    s[F::GUEST_IDTR_LIMIT] = 0xffff;
}

} // namespace

RuleState default_state(const Profile& profile) {
    RuleState s;
    put_machine(s);
    put_controls(s, profile);
    put_host(s);
    put_guest(s);
    return repair(s, profile);
}

} // namespace horos::model::vmx
