// The VMX guard on a VMCS of fields: what it accepts satisfies the rules of a VM entry, what it
// refuses changes nothing, and nothing that a VMM writes reaches the kernel's own fields.
#include "support/vmx_guest.hpp"
#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace horos::test {
namespace {

TEST(VmxGuard, LinuxEntryIsAccepted) {
    VmxGuest g;
    EXPECT_EQ(g.take(), 0u);
    EXPECT_EQ(g.page().dirty, 0u);
    EXPECT_EQ(g.field(Field::GUEST_RIP), 0x10'0000u);
    EXPECT_EQ(g.field(Field::GUEST_EFER), x86::efer::LME | x86::efer::LMA);
    EXPECT_NE(g.field(Field::ENTRY_CONTROLS) & vmx::entry_ctl::IA32E_MODE_GUEST, 0u);
    EXPECT_NE(g.field(Field::GUEST_CR4) & x86::cr4::VMXE, 0u);
    EXPECT_EQ(g.field(Field::CR4_SHADOW), x86::cr4::PAE) << "the guest does not see VMXE";
}

struct Broken {
    const char* what;
    RuleId rule;
    void (*breaks)(VcpuState&);
};

RuleId segment(vmx::Segment s, vmx::SegmentCheck c) { return vmx::segment_rule(s, c); }

// Each rule that a request can break, by a request that breaks it, is what the guard answers.
TEST(VmxGuard, EachRuleIsNamed) {
    using S = vmx::Segment;
    using C = vmx::SegmentCheck;
    const Broken rows[] = {
        {"cr0 high", RuleId::GUEST_CR0, [](VcpuState& s) { s.cr0 |= u64{1} << 32; }},
        {"pg without pe", RuleId::GUEST_CR0_PG_PE, [](VcpuState& s) { s.cr0 &= ~x86::cr0::PE; }},
        {"cr4 vmxe", RuleId::GUEST_CR4, [](VcpuState& s) { s.cr4 |= x86::cr4::VMXE; }},
        {"long without pae", RuleId::GUEST_IA32E_PAE, [](VcpuState& s) { s.cr4 = 0; }},
        {"cr3 wide", RuleId::GUEST_CR3, [](VcpuState& s) { s.cr3 = u64{1} << 40; }},
        {"efer", RuleId::GUEST_EFER_RESERVED, [](VcpuState& s) { s.efer |= 2; }},
        {"dr7", RuleId::GUEST_DR7, [](VcpuState& s) { s.dr7 |= u64{1} << 40; }},
        {"dr6", RuleId::GUEST_DR7, [](VcpuState& s) { s.dr6 |= u64{1} << 40; }},
        {"sysenter esp", RuleId::GUEST_SYSENTER_ESP,
         [](VcpuState& s) { s.sysenter_esp = u64{1} << 60; }},
        {"sysenter eip", RuleId::GUEST_SYSENTER_EIP,
         [](VcpuState& s) { s.sysenter_eip = u64{1} << 60; }},
        {"pat", RuleId::GUEST_PAT, [](VcpuState& s) { s.pat = 2; }},
        {"cs type", segment(S::CS, C::TYPE), [](VcpuState& s) { s.cs.attributes = 0xa91; }},
        {"cs l and d", segment(S::CS, C::DB), [](VcpuState& s) { s.cs.attributes |= 0x400; }},
        {"cs absent", segment(S::CS, C::P), [](VcpuState& s) { s.cs.attributes &= 0xf7f; }},
        {"cs dpl", segment(S::CS, C::DPL), [](VcpuState& s) { s.cs.attributes |= 0x60; }},
        {"cs base", segment(S::CS, C::BASE_HIGH), [](VcpuState& s) { s.cs.base = u64{1} << 32; }},
        {"ss type", segment(S::SS, C::TYPE), [](VcpuState& s) { s.ss.attributes = 0xc9b; }},
        {"ds not accessed", segment(S::DS, C::TYPE), [](VcpuState& s) { s.ds.attributes = 0xc92; }},
        {"es system", segment(S::ES, C::S), [](VcpuState& s) { s.es.attributes = 0xc83; }},
        {"fs base", segment(S::FS, C::BASE_CANONICAL),
         [](VcpuState& s) { s.fs.base = u64{1} << 50; }},
        {"gs granularity", segment(S::GS, C::G), [](VcpuState& s) { s.gs.limit = 0xffff'f000; }},
        {"ldtr type", segment(S::LDTR, C::TYPE), [](VcpuState& s) { s.ldtr.attributes = 0x083; }},
        {"tr not busy", segment(S::TR, C::TYPE), [](VcpuState& s) { s.tr.attributes = 0x089; }},
        {"tr ti", segment(S::TR, C::SELECTOR_TI), [](VcpuState& s) { s.tr.selector = 4; }},
        {"gdtr base", RuleId::GUEST_GDTR_BASE, [](VcpuState& s) { s.gdtr.base = u64{1} << 62; }},
        {"gdtr limit", RuleId::GUEST_GDTR_LIMIT, [](VcpuState& s) { s.gdtr.limit = 0x1'0000; }},
        {"idtr base", RuleId::GUEST_IDTR_BASE, [](VcpuState& s) { s.idtr.base = u64{1} << 62; }},
        {"idtr limit", RuleId::GUEST_IDTR_LIMIT, [](VcpuState& s) { s.idtr.limit = 0x1'0000; }},
        {"rip", RuleId::GUEST_RIP_CANONICAL, [](VcpuState& s) { s.rip = u64{1} << 60; }},
        {"v86 in long mode", segment(S::ES, C::BASE_V86),
         [](VcpuState& s) { s.rflags |= x86::rflags::VM; }},
        {"event type", RuleId::EVENT_TYPE, [](VcpuState& s) { s.inject = event::valid | 0x100; }},
        {"exception vector", RuleId::EVENT_VECTOR_EXCEPTION,
         [](VcpuState& s) { s.inject = event::valid | 0x300 | 32; }},
        {"no error code", RuleId::EVENT_ERROR_CODE_PRESENT,
         [](VcpuState& s) { s.inject = event::valid | 0x300 | 13; }},
        {"error code of #UD", RuleId::EVENT_ERROR_CODE_ABSENT,
         [](VcpuState& s) { s.inject = event::valid | 0x300 | 6 | event::has_error_code; }},
        {"error code of an interrupt", RuleId::EVENT_ERROR_CODE_ABSENT,
         [](VcpuState& s) {
             s.rflags |= x86::rflags::IF;
             s.inject = event::valid | 0x40 | event::has_error_code;
         }},
        {"error code of an nmi", RuleId::EVENT_ERROR_CODE_ABSENT,
         [](VcpuState& s) { s.inject = event::valid | 0x202 | event::has_error_code; }},
        {"error code of int n", RuleId::EVENT_ERROR_CODE_ABSENT,
         [](VcpuState& s) { s.inject = event::valid | 0x440 | event::has_error_code; }},
        {"nmi vector", RuleId::EVENT_VECTOR_NMI,
         [](VcpuState& s) { s.inject = event::valid | 0x200 | 3; }},
        {"interrupt without if", RuleId::GUEST_RFLAGS_IF,
         [](VcpuState& s) { s.inject = event::valid | 0x40; }},
        {"interrupt in a shadow", RuleId::BLOCKING_EXTERNAL,
         [](VcpuState& s) {
             s.rflags |= x86::rflags::IF;
             s.interrupt_shadow = 1;
             s.inject = event::valid | 0x40;
         }},
        {"nmi in a shadow", RuleId::BLOCKING_MOV_SS_NMI,
         [](VcpuState& s) {
             s.interrupt_shadow = 1;
             s.inject = event::valid | 0x200 | 2;
         }},
    };
    for (const Broken& row : rows) {
        VmxGuest g;
        ASSERT_EQ(g.take(), 0u);
        g.good();
        row.breaks(g.page());
        const FakeVmcs before = g.vmcs();
        const Vcpu vcpu_before = g.vcpu();
        fake_vmx.loaded = u64{g.vcpu().control} << frame_bits;
        EXPECT_EQ(g.take(), static_cast<u32>(row.rule)) << row.what;
        EXPECT_TRUE(g.vmcs() == before) << row.what << ": the VMCS changed";
        EXPECT_EQ(memcmp(&vcpu_before, &g.vcpu(), sizeof(Vcpu)), 0) << row.what;
        EXPECT_EQ(g.page().dirty, group::all) << row.what;
    }
}

// A guest that was reset within an NMI: the VMM's word opens the way, as it does on SVM.
TEST(VmxGuard, AnNmiGoesInAlthoughTheGuestIsInOne) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    g.vmcs().fields.at(vmx::encoding(Field::GUEST_INTERRUPTIBILITY)) |=
        vmx::interruptibility::BLOCKING_BY_NMI;
    g.good();
    g.page().inject = event::valid | 0x200 | 2;
    ASSERT_EQ(g.take(), 0u);
    u64 blocked = ~u64{0};
    fake_vmx.guest = [&](u64*) {
        blocked = g.field(Field::GUEST_INTERRUPTIBILITY);
        g.vmcs().fields[vmx::encoding(Field::EXIT_REASON)] =
            static_cast<u32>(vmx::ExitReason::TRIPLE_FAULT);
        g.vmcs().fields[vmx::encoding(Field::EXIT_QUALIFICATION)] = 0;
        g.vmcs().fields[vmx::encoding(Field::IDT_VECTORING_INFO)] = 0;
        return 0u;
    };
    EXPECT_EQ(g.enter(), ExitReason::shutdown);
    EXPECT_EQ(blocked, 0u) << "§26.3.1.5: an entry that injects an NMI must not find them blocked";
}

// An NMI window may open in the shadow of STI (§25.2), where not every processor takes an injected
// NMI (§26.3.1.5): the shadow ends, as it does when the processor delivers one by itself.
TEST(VmxGuard, AnNmiEndsTheShadowOfSti) {
    VmxGuest g;
    g.page().rflags |= x86::rflags::IF;
    g.page().interrupt_shadow = 1;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.field(Field::GUEST_INTERRUPTIBILITY), vmx::interruptibility::BLOCKING_BY_STI);
    g.page().inject = event::valid | 0x200 | 2;
    g.page().dirty = group::events;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.field(Field::GUEST_INTERRUPTIBILITY), 0u);
}

// A trap that was pending when a guest was reset is not the new guest's (seen: a #DB instead of its
// first instruction).
TEST(VmxGuard, AResetDropsPendingTraps) {
    VmxGuest g;
    g.page().rflags |= x86::rflags::TF;
    g.page().interrupt_shadow = 1;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.field(Field::GUEST_PENDING_DEBUG), vmx::pending_debug::BS);
    g.page() = {};
    g.good();
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.field(Field::GUEST_PENDING_DEBUG), 0u);
}

// A change of a group other than events keeps the shadow, and with it what the trap flag demands.
TEST(VmxGuard, AShadowKeepsItsTrapPending) {
    VmxGuest g;
    g.page().rflags |= x86::rflags::TF;
    g.page().interrupt_shadow = 1;
    ASSERT_EQ(g.take(), 0u);
    g.page().dirty = group::control;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.field(Field::GUEST_INTERRUPTIBILITY), vmx::interruptibility::BLOCKING_BY_MOV_SS);
    EXPECT_EQ(g.field(Field::GUEST_PENDING_DEBUG), vmx::pending_debug::BS);
}

TEST(VmxGuard, PolicyAndMsrs) {
    VmxGuest g;
    g.page().xcr0 = 2;
    EXPECT_EQ(g.take(), guard_rule::xcr0);
    g.good();
    g.page().extra_exits = 1u << 30;
    EXPECT_EQ(g.take(), guard_rule::extra_exits);
    g.good();
    g.page().extra_exits = 0;
    g.page().lstar = u64{1} << 55;
    EXPECT_EQ(g.take(), guard_rule::msrs);
    g.page().lstar = 0;
    EXPECT_EQ(g.take(), 0u);
}

// A space's tables are its own: PAE paging needs entries that only the guest's memory has.
TEST(VmxGuard, NoPaePagingFromOutside) {
    VmxGuest g;
    g.page().efer = 0;
    g.page().cs.attributes = 0xc9b;
    EXPECT_EQ(g.take(), static_cast<u32>(RuleId::PDPTE_FIELDS));
}

u64 word() { return *rc::gen::arbitrary<u64>(); }
// Near a good value: one bit other, or any.
u64 near(u64 good) {
    switch (*rc::gen::inRange(0, 4)) {
    case 0:
        return good ^ u64 { 1 } << *rc::gen::inRange(0, 64);
    case 1:
        return word();
    default:
        return good;
    }
}

void disturb(Segment& s) {
    s.selector = static_cast<u16>(near(s.selector));
    s.attributes = static_cast<u16>(near(s.attributes));
    s.limit = static_cast<u32>(near(s.limit));
    s.base = near(s.base);
}

void disturb(VcpuState& s) {
    for (u64* value : {&s.rip, &s.rflags, &s.cr0, &s.cr3, &s.cr4, &s.efer, &s.dr6, &s.dr7, &s.pat,
                       &s.sysenter_esp, &s.lstar, &s.sfmask, &s.kernel_gs_base, &s.xcr0})
        if (*rc::gen::inRange(0, 8) == 0)
            *value = near(*value);
    for (Segment* g : {&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs, &s.ldtr, &s.tr, &s.gdtr, &s.idtr})
        if (*rc::gen::inRange(0, 16) == 0)
            disturb(*g);
    if (*rc::gen::inRange(0, 3) == 0)
        s.inject = word();
    s.exception_exits = static_cast<u32>(word());
    s.extra_exits = static_cast<u32>(word()) & extra_exit::known;
    s.requests = static_cast<u32>(word());
    s.interrupt_shadow = static_cast<u32>(word());
    s.pending_interrupt = word();
    s.tpr = static_cast<u32>(word());
    s.dirty = *rc::gen::inRange(0, 4) == 0 ? static_cast<u32>(word()) : u32{group::all};
}

constexpr Field host_owned[] = {
    Field::EXIT_CONTROLS,          Field::VMCS_LINK_POINTER,      Field::VIRTUAL_APIC_ADDRESS,
    Field::EXIT_MSR_STORE_COUNT,   Field::EXIT_MSR_LOAD_COUNT,    Field::ENTRY_MSR_LOAD_COUNT,
    Field::EXIT_MSR_STORE_ADDRESS, Field::ENTRY_MSR_LOAD_ADDRESS, Field::GUEST_DEBUGCTL,
    Field::GUEST_ACTIVITY,         Field::PIN_CONTROLS,
};

// Whatever a VMM writes: host-owned fields stay, mandatory controls stay, a refusal changes
// nothing, and what was accepted would pass the guard again as the VMCS has it.
RC_GTEST_PROP(VmxGuard, AnyRequest, ()) {
    VmxGuest g;
    std::map<u32, u64> owned;
    for (const Field f : host_owned)
        owned[vmx::encoding(f)] = g.field(f);
    for (int round = 0; round < 4; ++round) {
        g.good();
        disturb(g.page());
        const FakeVmcs before = g.vmcs();
        const u32 rule = g.take();
        if (rule != 0)
            RC_ASSERT(g.vmcs().fields == before.fields);
        else
            RC_ASSERT(diagnose_entry(g.vcpu()) == RuleId::NONE);
        for (const auto& [f, value] : owned)
            RC_ASSERT(g.vmcs().fields.at(f) == value);
        const u64 bitmap = g.field(Field::EXCEPTION_BITMAP);
        RC_ASSERT((bitmap & mandatory_vmx::exceptions) == mandatory_vmx::exceptions);
        RC_ASSERT((g.field(Field::PROC_CONTROLS_2) & mandatory_vmx::proc_controls_2) ==
                  mandatory_vmx::proc_controls_2);
        RC_ASSERT((g.vcpu().vmx.proc_controls & mandatory_vmx::proc_controls) ==
                  mandatory_vmx::proc_controls);
        RC_ASSERT((g.field(Field::GUEST_CR4) & x86::cr4::VMXE) != 0);
        RC_ASSERT((g.field(Field::GUEST_CR0) & x86::cr0::NE) != 0);
        for (const auto& [f, value] :
             g.vmcs().fields) // no host field but the constants of a fresh VMCS
            RC_ASSERT(vmx::type(static_cast<Field>(f)) != vmx::FieldType::HOST ||
                      before.fields.at(f) == value);
    }
}

// Another core holds the VMCS: the end of the virtual CPU waits for it to let go.
TEST(VmxGuard, EndWaitsForTheHolder) {
    VmxGuest g;
    g.vcpu().core = 1;
    cores[1].control = g.vcpu().control;
    const Frame f = static_cast<Frame>(&g.vcpu() - vcpus);
    EXPECT_FALSE(vmx_end_vcpu(f));
    EXPECT_NE(cores[1].control, 0u);
    vmx_rescheduled(1);
    EXPECT_EQ(cores[1].control, 0u);
    EXPECT_TRUE(vmx_end_vcpu(f));
    cores[1] = Core{};
}

// A thread can end before its guest is entered. What it wanted injected is not checked against what
// the next one asks for, and so is not injected (§26.3.1.4 would refuse an interrupt without IF).
TEST(VmxGuard, AnEventOfARunThatNeverWasIsNotInjected) {
    VmxGuest g;
    g.page().inject = event::valid | 0x40;
    g.page().rflags |= x86::rflags::IF;
    ASSERT_EQ(g.take(), 0u);
    ASSERT_NE(g.vcpu().vmx.event, 0u);
    g.page().rflags &= ~x86::rflags::IF;
    g.page().dirty = 0;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.vcpu().vmx.event, 0u);
}

} // namespace
} // namespace horos::test
