// Entries and exits of the VMX backend on a VMCS of fields: entries that fail leave the host as it
// was and say which rule is broken; events that an exit cut off are delivered again; windows.
#include "support/privileged.hpp"
#include "support/violation.hpp"
#include "support/vmx_guest.hpp"
#include <gtest/gtest.h>
#include <set>

namespace horos::test {
namespace {

using Reason = vmx::ExitReason;

void set(Field f, u64 value) { fake_vmx.current().fields[vmx::encoding(f)] = value; }
u64 get(Field f) { return fake_vmx.current().fields[vmx::encoding(f)]; }

// The guest exits at once, for this reason.
void exit_with(u32 reason, u64 qualification = 0, u32 interrupted = 0) {
    fake_vmx.guest = [=](u64*) {
        set(Field::EXIT_REASON, reason);
        set(Field::EXIT_QUALIFICATION, qualification);
        set(Field::IDT_VECTORING_INFO, interrupted);
        set(Field::IDT_VECTORING_ERROR_CODE, 0x1234);
        set(Field::EXIT_INTERRUPTION_INFO, 0);
        set(Field::EXIT_INSTRUCTION_LENGTH, 2);
        set(Field::EXIT_INSTRUCTION_INFO, 0);
        set(Field::GUEST_PHYSICAL_ADDRESS, 0x5000);
        return 0u;
    };
}
void exit_with(Reason reason) { exit_with(static_cast<u32>(reason)); }

// What each failed entry must leave: the exit's reason, the rule, and the processor's own words.
void expect_refusal(VmxGuest& g, u64 code, u64 detail, RuleId rule) {
    EXPECT_EQ(g.page().exit_reason, static_cast<u32>(ExitReason::entry_refused));
    EXPECT_EQ(g.page().info[0], code);
    EXPECT_EQ(g.page().info[1], detail);
    EXPECT_EQ(g.page().info[2], static_cast<u64>(rule));
    EXPECT_EQ(g.page().next_rip, 0u);
}

TEST(VmxEntry, VmfailSaysWhichErrorAndWhichRule) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    for (const u32 error : {7u, 8u}) { // §30.4: controls, host state
        fake_vmx.guest = [=](u64*) {
            set(Field::INSTRUCTION_ERROR, error);
            return 2u;
        };
        EXPECT_EQ(g.enter(), ExitReason::entry_refused);
        expect_refusal(g, 0, error, RuleId::NONE);
        EXPECT_EQ(cores[shell.core].launched, 0u) << "a refused launch is no launch";
    }
}

TEST(VmxEntry, InvalidGuestStateNamesTheRule) {
    const struct {
        Field field;
        u64 value;
        RuleId rule;
    } rows[] = {{Field::GUEST_RIP, u64{1} << 60, RuleId::GUEST_RIP_CANONICAL},
                {Field::GUEST_PAT, 2, RuleId::GUEST_PAT},
                {Field::GUEST_GDTR_LIMIT, 0x1'0000, RuleId::GUEST_GDTR_LIMIT},
                {Field::GUEST_TR_RIGHTS, 0x89,
                 vmx::segment_rule(vmx::Segment::TR, vmx::SegmentCheck::TYPE)}};
    for (const auto& row : rows) {
        VmxGuest g;
        ASSERT_EQ(g.take(), 0u);
        // Behind the guard's back, as a guest's own run or an overlooked rule would leave it.
        set(row.field, row.value);
        const u32 code = static_cast<u32>(Reason::ENTRY_GUEST_STATE);
        exit_with(code | vmx::exit_reason::ENTRY_FAILURE, 0);
        EXPECT_EQ(g.enter(), ExitReason::entry_refused);
        expect_refusal(g, code, 0, row.rule);
        EXPECT_EQ(cores[shell.core].launched, 0u);
    }
}

TEST(VmxEntry, FailedMsrLoadTellsTheEntry) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    const u32 code = static_cast<u32>(Reason::ENTRY_MSR_LOAD);
    exit_with(code | vmx::exit_reason::ENTRY_FAILURE, 3);
    EXPECT_EQ(g.enter(), ExitReason::entry_refused);
    expect_refusal(g, code, 3, RuleId::NONE);
}

// An event that was to be injected is not lost with the entry: the VMM gets it back, and it does
// not go in with the next one, because only an exit clears the field (§24.8.3).
TEST(VmxEntry, ARefusedEntryGivesTheEventBack) {
    VmxGuest g;
    g.page().inject = event::valid | event::exception << event::type_shift | 6;
    const u64 injected = g.page().inject;
    ASSERT_EQ(g.take(), 0u);
    exit_with(static_cast<u32>(Reason::ENTRY_GUEST_STATE) | vmx::exit_reason::ENTRY_FAILURE);
    EXPECT_EQ(g.enter(), ExitReason::entry_refused);
    EXPECT_EQ(g.page().interrupted_event, injected);
    EXPECT_EQ(get(Field::ENTRY_INTERRUPTION_INFO), 0u);
    fake_vmx.guest = [](u64*) {
        set(Field::INSTRUCTION_ERROR, 7);
        return 2u;
    };
    g.page().inject = injected;
    g.page().dirty = group::events;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.enter(), ExitReason::entry_refused);
    EXPECT_EQ(get(Field::ENTRY_INTERRUPTION_INFO), 0u);
}

// A processor that comes back, by an exit or without one, with other control registers than the
// host's: the core stops with a message that names the check.
TEST(VmxEntry, ALostHostStopsTheCore) {
    for (const unsigned number : {0u, 3u, 4u}) {
        for (const u32 result : {0u, 1u, 2u}) {
            VmxGuest g;
            ASSERT_EQ(g.take(), 0u);
            fake_vmx.guest = [=](u64*) {
                set(Field::EXIT_REASON, static_cast<u32>(Reason::CPUID));
                set(Field::INSTRUCTION_ERROR, 7);
                privileged().cr[number] ^= 0x20;
                return result;
            };
            EXPECT_THROW((void)g.enter(), Violation) << "CR" << number << ", result " << result;
            privileged().cr[number] ^= 0x20;
        }
    }
}

// §27.2.4: what an exit cut off comes back, but for events whose instruction starts over.
TEST(VmxEntry, InterruptedEventsAreToldAndReplayed) {
    constexpr u32 valid = 1u << 31;
    const struct {
        u32 info;
        u64 event;
    } rows[] = {
        {valid | 0x40, event::valid | 0x40},                       // external interrupt
        {valid | 2u << 8 | 2, event::valid | event::nmi << 8 | 2}, // NMI
        {valid | 3u << 8 | 6, event::valid | event::exception << 8 | 6},
        {valid | 3u << 8 | 1u << 11 | 13,
         event::valid | event::exception << 8 | event::has_error_code | 13 | u64{0x1234} << 32},
        {valid | 4u << 8 | 0x80, 0}, // INT n
        {valid | 6u << 8 | 3, 0},    // INT3
    };
    for (const auto& row : rows) {
        VmxGuest g;
        ASSERT_EQ(g.take(), 0u);
        exit_with(static_cast<u32>(Reason::EPT_VIOLATION), 1, row.info);
        EXPECT_EQ(g.enter(), ExitReason::memory);
        EXPECT_EQ(g.page().interrupted_event, row.event) << std::hex << row.info;
        // An exit that is the kernel's own affair: the event goes into the next entry by itself.
        exit_with(static_cast<u32>(Reason::PREEMPTION_TIMER), 0, row.info);
        EXPECT_EQ(g.enter(), ExitReason::none);
        u64 injected = 0;
        fake_vmx.guest = [&](u64*) {
            injected = get(Field::ENTRY_INTERRUPTION_INFO);
            set(Field::EXIT_REASON, static_cast<u32>(Reason::CPUID));
            set(Field::IDT_VECTORING_INFO, 0);
            return 0u;
        };
        set(Field::ENTRY_INTERRUPTION_INFO, 0);
        EXPECT_EQ(g.enter(), ExitReason::cpuid);
        EXPECT_EQ(injected, row.event == 0 ? 0 : row.info) << std::hex << row.info;
    }
}

// An NMI that is to be delivered again must find NMIs open (§27.2.3, §26.3.1.5).
TEST(VmxEntry, AnInterruptedNmiOpensNmis) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    fake_vmx.guest = [](u64*) {
        set(Field::EXIT_REASON, static_cast<u32>(Reason::PREEMPTION_TIMER));
        set(Field::IDT_VECTORING_INFO, 1u << 31 | 2u << 8 | 2);
        set(Field::GUEST_INTERRUPTIBILITY, vmx::interruptibility::BLOCKING_BY_NMI);
        return 0u;
    };
    EXPECT_EQ(g.enter(), ExitReason::none);
    u64 blocked = ~u64{0};
    fake_vmx.guest = [&](u64*) {
        blocked = get(Field::GUEST_INTERRUPTIBILITY);
        return 0u;
    };
    EXPECT_EQ(g.enter(), ExitReason::none);
    EXPECT_EQ(blocked, 0u);
}

// A pending interrupt waits for its window, then goes in, with TPR before it.
TEST(VmxEntry, APendingInterruptWaitsForItsWindow) {
    VmxGuest g;
    g.page().pending_interrupt = pending::valid | 0x51;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::INTERRUPT_WINDOW);
    EXPECT_EQ(g.enter(), ExitReason::none);
    EXPECT_NE(get(Field::PROC_CONTROLS) & vmx::proc::INTERRUPT_WINDOW_EXITING, 0u);
    set(Field::GUEST_RFLAGS, x86::rflags::ONE | x86::rflags::IF);
    exit_with(Reason::CPUID);
    EXPECT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_EQ(get(Field::PROC_CONTROLS) & vmx::proc::INTERRUPT_WINDOW_EXITING, 0u);
    EXPECT_EQ(get(Field::ENTRY_INTERRUPTION_INFO) & 0x8000'07ff, 0x8000'0051u);
    EXPECT_EQ(g.page().pending_interrupt, 0u) << "delivered";
}

TEST(VmxEntry, APendingInterruptBelowTprArmsTheThreshold) {
    VmxGuest g;
    g.page().pending_interrupt = pending::valid | 0x51;
    g.page().tpr = 7;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::TPR_BELOW_THRESHOLD);
    EXPECT_EQ(g.enter(), ExitReason::none);
    EXPECT_EQ(get(Field::TPR_THRESHOLD), 5u);
    EXPECT_EQ(get(Field::PROC_CONTROLS) & vmx::proc::INTERRUPT_WINDOW_EXITING, 0u);
}

TEST(VmxEntry, WindowsAreAskedForAndTold) {
    VmxGuest g;
    g.page().requests = request::window | request::nmi_window;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::NMI_WINDOW);
    EXPECT_EQ(g.enter(), ExitReason::nmi_window);
    constexpr u32 both = vmx::proc::INTERRUPT_WINDOW_EXITING | vmx::proc::NMI_WINDOW_EXITING;
    EXPECT_EQ(get(Field::PROC_CONTROLS) & both, both);
    exit_with(Reason::INTERRUPT_WINDOW);
    EXPECT_EQ(g.enter(), ExitReason::window);
}

// The preemption timer ends the run at the core's next event, whatever interrupts the guest allows:
// not early, at once when the event has passed, and as late as it can when there is none.
TEST(VmxEntry, ThePreemptionTimerCountsToTheNextEvent) {
    VmxGuest g(vmx::pin::PREEMPTION_TIMER);
    vmx_limits.timer_shift = 5;
    Core& core = cores[shell.core];
    ASSERT_EQ(g.take(), 0u);
    const struct {
        u64 timer, counts;
    } rows[] = {{shell_now() + 0x4000, (0x4000 >> 5) + 1},
                {shell_now() + 1, 1},
                {shell_now(), 0},
                {no_deadline, ~u32{0}}};
    for (const auto& row : rows) {
        core.timer = row.timer;
        core.reschedule = 0;
        exit_with(Reason::PREEMPTION_TIMER);
        EXPECT_EQ(g.enter(), ExitReason::none);
        EXPECT_NE(get(Field::PIN_CONTROLS) & vmx::pin::PREEMPTION_TIMER, 0u);
        EXPECT_EQ(get(Field::PREEMPTION_TIMER), row.counts);
        EXPECT_EQ(core.reschedule, 1u);
    }
}

TEST(VmxEntry, AProcessorWithoutThePreemptionTimerDoesWithout) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::CPUID);
    EXPECT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_EQ(fake_vmx.current().fields.count(vmx::encoding(Field::PREEMPTION_TIMER)), 0u);
}

// A change of the space: a new VPID, and the translations of its EPTP are void.
TEST(VmxEntry, AChangedSpaceGetsANewVpidAndInvept) {
    VmxGuest g;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::CPUID);
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    const u64 vpid = get(Field::VPID);
    EXPECT_NE(vpid, 0u);
    fake_vmx.flushed.clear();
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_EQ(get(Field::VPID), vpid);
    EXPECT_TRUE(fake_vmx.flushed.empty()) << "nothing changed";
    spaces[g.vcpu().space].flushes++;
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_NE(get(Field::VPID), vpid);
    ASSERT_EQ(fake_vmx.flushed.size(), 1u);
    EXPECT_EQ(fake_vmx.flushed[0].first, static_cast<u64>(vmx::InveptType::SINGLE_CONTEXT));
    EXPECT_EQ(fake_vmx.flushed[0].second, get(Field::EPTP));
}

// A VPID names one guest's translations: other page tables get another, and once all have been
// handed out none of what they named is left before the first is used again (§28.4.3).
TEST(VmxEntry, AUsedVpidComesAgainOnlyAfterInvvpid) {
    VmxGuest g;
    Core& core = cores[shell.core];
    const u32 tags = machine.tlb_tags;
    machine.tlb_tags = 0x1'0000; // VPIDs have 16 bits
    core.tlb_era = 5;            // of a core that is up it is never 0
    core.tlb_next = 1;
    ASSERT_EQ(g.take(), 0u);
    exit_with(Reason::CPUID);
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    std::set<u64> used{get(Field::VPID)};
    for (int round = 0; round < 3; ++round) {
        g.page().dirty = group::control; // another CR3, as far as the kernel knows
        ASSERT_EQ(g.take(), 0u);
        ASSERT_EQ(g.enter(), ExitReason::cpuid);
        EXPECT_TRUE(used.insert(get(Field::VPID)).second) << "two spaces under one VPID";
    }
    const u64 era = core.tlb_era;
    core.tlb_next = machine.tlb_tags;
    fake_vmx.flushed.clear();
    spaces[g.vcpu().space].flushes++;
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_EQ(get(Field::VPID), 1u);
    EXPECT_EQ(core.tlb_era, era + 1) << "virtual CPUs with tags of the old era get new ones";
    ASSERT_EQ(fake_vmx.flushed.size(), 2u);
    EXPECT_EQ(fake_vmx.flushed[0].first, 0x100 | static_cast<u64>(vmx::InvvpidType::ALL));
    core.tlb_era++; // another virtual CPU used up the tags
    fake_vmx.flushed.clear();
    ASSERT_EQ(g.enter(), ExitReason::cpuid);
    EXPECT_EQ(get(Field::VPID), 2u) << "a tag of an old era is nobody's";
    machine.tlb_tags = tags;
}

// The end of the machine, and of a core: VMXOFF once, and only then may CR4.VMXE go (§23.7). A core
// that is not in VMX operation must not try (#UD).
TEST(VmxMachine, VmxoffComesBeforeCr4) {
    VmxGuest g;
    u64& cr4 = privileged().cr[4];
    const u64 before = cr4;
    cr4 = x86::cr4::PAE | x86::cr4::VMXE;
    fake_vmx.off_fails = 1;
    vmx_disable_cpu();
    EXPECT_EQ(fake_vmx.offs, 1u);
    EXPECT_EQ(cr4, x86::cr4::PAE | x86::cr4::VMXE) << "still in VMX operation";
    fake_vmx.off_fails = 0;
    vmx_disable_cpu();
    EXPECT_EQ(fake_vmx.offs, 2u);
    EXPECT_EQ(cr4, x86::cr4::PAE);
    vmx_disable_cpu();
    EXPECT_EQ(fake_vmx.offs, 2u) << "VMXOFF outside VMX operation";
    cr4 = before;
}

} // namespace
} // namespace horos::test
