// A guest's APIC that the processor serves: which requests the guard takes, what reaches the VMCS,
// and which MSRs pass. Sections are of the Intel SDM vol. 3C 325384-077US.
#include "support/vmx_guest.hpp"
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace horos::test {
namespace {

namespace proc2 = vmx::proc2;

constexpr u64 both = proc2::APIC_REGISTER_VIRTUALIZATION | proc2::VIRTUAL_INTERRUPT_DELIVERY;
constexpr u64 all_ways = both | proc2::VIRTUALIZE_X2APIC | proc2::VIRTUALIZE_APIC_ACCESSES;

class VmxApic : public testing::Test {
protected:
    void SetUp() override { vmx_limits.virtual_apics = virtual_apic::known; }
    void TearDown() override { vmx_limits.virtual_apics = 0; }

    u32 ask(u32 way, u32 page = 0) {
        g.good();
        g.page().virtual_apic = way;
        g.page().apic_page = page;
        return g.take();
    }
    u64 controls() { return g.field(Field::PROC_CONTROLS_2) & all_ways; }
    // Takes the VMCS through an entry whose exit is of this kind.
    ExitReason exit(vmx::ExitReason reason, u64 qualification = 0) {
        fake_vmx.guest = [=](u64*) {
            auto& fields = fake_vmx.current().fields;
            fields[vmx::encoding(Field::EXIT_REASON)] = static_cast<u32>(reason);
            fields[vmx::encoding(Field::EXIT_QUALIFICATION)] = qualification;
            fields[vmx::encoding(Field::IDT_VECTORING_INFO)] = 0;
            fields[vmx::encoding(Field::EXIT_INTERRUPTION_INFO)] = 0;
            fields[vmx::encoding(Field::EXIT_INSTRUCTION_LENGTH)] = 2;
            fields[vmx::encoding(Field::EXIT_INSTRUCTION_INFO)] = 0;
            fields[vmx::encoding(Field::GUEST_PHYSICAL_ADDRESS)] = 0;
            return 0u;
        };
        return g.enter();
    }
    // Whether reading (0) or writing (1) an MSR exits, by the bitmap that the VMCS names.
    bool exits(u32 msr, bool write) {
        const u32 bit = vmx::msr_bitmap_bit(msr) + (write ? vmx::MSR_BITMAP_WRITE : 0);
        const u8* map = permission_maps[g.field(Field::MSR_BITMAP) >> frame_bits].bytes;
        return (map[bit / 8] >> bit % 8 & 1) != 0;
    }

    VmxGuest g;
    const Frame own = pool_first; // of the running thread's domain
};

TEST_F(VmxApic, WhatTheProcessorLacksIsRefused) {
    for (u32 offered = 0; offered <= virtual_apic::known; ++offered) {
        vmx_limits.virtual_apics = static_cast<u16>(offered);
        for (const u32 way : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 12u, ~0u}) {
            const bool one = way == 1 || way == 2 || way == 4;
            EXPECT_EQ(ask(way, own), one && (way & offered) != 0 ? 0u : guard_rule::virtual_apic)
                << offered << ' ' << way;
        }
    }
    EXPECT_EQ(ask(virtual_apic::none), 0u);
}

TEST_F(VmxApic, TheWaysAreControlsOfTheVmcs) {
    ASSERT_EQ(ask(virtual_apic::x2apic), 0u);
    EXPECT_EQ(controls(), both | proc2::VIRTUALIZE_X2APIC);
    ASSERT_EQ(ask(virtual_apic::memory, own), 0u);
    EXPECT_EQ(controls(), both | proc2::VIRTUALIZE_APIC_ACCESSES);
    EXPECT_EQ(g.field(Field::APIC_ACCESS_ADDRESS), u64{own} << frame_bits);
    ASSERT_EQ(ask(virtual_apic::task_priority, own + 1), 0u);
    EXPECT_EQ(controls(), proc2::VIRTUALIZE_APIC_ACCESSES);
    EXPECT_EQ(g.field(Field::APIC_ACCESS_ADDRESS), u64{own + 1} << frame_bits);
    ASSERT_EQ(ask(virtual_apic::none), 0u);
    EXPECT_EQ(controls(), 0u);
    EXPECT_EQ(g.field(Field::VIRTUAL_APIC_ADDRESS), u64{g.vcpu().state} << frame_bits);
}

// Nothing of anybody else's, of the kernel's or of the processor's own use.
TEST_F(VmxApic, AnApicPageOfOthersIsRefused) {
    const Frame thread_frame = cores[shell.core].thread;
    const Frame wrong[] = {0,
                           1,
                           domain1_first,
                           domain2_first,
                           machine.io_map,
                           thread_frame,
                           spaces[g.vcpu().space].root,
                           g.vcpu().control,
                           g.vcpu().fpu,
                           g.vcpu().state,
                           machine.frame_limit,
                           ~u32{0}};
    for (const Frame page : wrong) {
        for (const u32 way : {virtual_apic::memory, virtual_apic::task_priority}) {
            const FakeVmcs before = g.vmcs();
            EXPECT_EQ(ask(way, page), static_cast<u32>(RuleId::APIC_ACCESS_ADDRESS)) << page;
            EXPECT_TRUE(g.vmcs().fields == before.fields) << page;
            EXPECT_EQ(g.vcpu().vmx.apic_page, 0u);
        }
    }
}

// While the processor knows the address, the frame stays what it is: the kernel's tables must not
// come to lie where accesses are taken for the guest's (§29.4.6).
TEST_F(VmxApic, TheApicPageIsHeld) {
    const u16 before = frames[own].references;
    ASSERT_EQ(ask(virtual_apic::memory, own), 0u);
    EXPECT_EQ(frames[own].references, before + 1);
    EXPECT_EQ(check_retype(threads[cores[shell.core].thread].domain, own), Error::frame_in_use);
    ASSERT_EQ(ask(virtual_apic::memory, own), 0u);
    EXPECT_EQ(frames[own].references, before + 1) << "asked for twice";
    ASSERT_EQ(ask(virtual_apic::memory, own + 1), 0u);
    EXPECT_EQ(frames[own].references, before);
    EXPECT_EQ(frames[own + 1].references, before + 1);
    ASSERT_EQ(ask(virtual_apic::x2apic), 0u);
    EXPECT_EQ(frames[own + 1].references, before);
    ASSERT_EQ(ask(virtual_apic::memory, own), 0u);
    g.vcpu().core = no_core;
    EXPECT_TRUE(vmx_end_vcpu(static_cast<Frame>(&g.vcpu() - vcpus)));
    EXPECT_EQ(frames[own].references, before) << "the virtual CPU has ended";
}

// x2APIC MSRs pass only to a processor that serves them all from the page.
TEST_F(VmxApic, MsrsOfTheX2apicPassWhereTheyAreServed) {
    vmx_init_msr_map(machine.msr_map);
    for (const u32 way : {virtual_apic::none, virtual_apic::memory, virtual_apic::task_priority,
                          virtual_apic::x2apic}) {
        ASSERT_EQ(ask(way, own), 0u);
        ASSERT_EQ(exit(vmx::ExitReason::HLT), ExitReason::hlt);
        const bool serves = way == virtual_apic::x2apic;
        for (u32 n = 0; n < 0x100; ++n) {
            const bool known = n == 2 || n == 3 || n == 8 || n == 0xa || n == 0xd || n == 0xf ||
                               (n >= 0x10 && n <= 0x28) || n == 0x30 || (n >= 0x32 && n <= 0x38) ||
                               n == 0x3e;
            EXPECT_EQ(exits(0x800 + n, false), !(serves && known)) << way << ' ' << n;
            const bool written = n == 8 || n == 0xb || n == 0x3f;
            EXPECT_EQ(exits(0x800 + n, true), !(serves && written)) << way << ' ' << n;
        }
        EXPECT_FALSE(exits(x86::msr::LSTAR, true)) << "the guest's own";
        EXPECT_TRUE(exits(x86::msr::EFER, true));
    }
    EXPECT_TRUE(vmx_set_msr(machine.msr_map, x86::msr::LSTAR, 0)); // in both bitmaps
    EXPECT_TRUE(exits(x86::msr::LSTAR, false));
    EXPECT_TRUE(vmx_set_msr(machine.msr_map, x86::msr::LSTAR, 3));
    EXPECT_FALSE(vmx_set_msr(machine.msr_map, 0x80b, 2)) << "not for a monitor to pass";
}

TEST_F(VmxApic, InterruptStatusAndEoiExitsAreTheMonitors) {
    g.good();
    g.page().eoi_exits[2] = 0x1234;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.vmcs().fields.count(vmx::encoding(Field::EOI_EXIT_BITMAP_2)), 0u)
        << "not every processor has the field";
    EXPECT_EQ(g.vmcs().fields.count(vmx::encoding(Field::GUEST_INTERRUPT_STATUS)), 0u);
    g.page().interrupt_status = 0xabcd'4151;
    ASSERT_EQ(ask(virtual_apic::x2apic), 0u);
    EXPECT_EQ(g.field(Field::EOI_EXIT_BITMAP_2), 0x1234u);
    EXPECT_EQ(g.field(Field::GUEST_INTERRUPT_STATUS), 0x4151u);
}

// With TPR alone an interrupt goes in as without a virtual APIC, by the TPR of the page, which is
// the monitor's and the guest's; the processor has no field for more.
TEST_F(VmxApic, WithTprAloneTheKernelInjects) {
    g.good();
    g.page().interrupt_status = 0x4151;
    g.page().eoi_exits[2] = 0x1234;
    g.page().tpr = 9;
    task_priority(g.vcpu()) = 0x65;
    g.page().pending_interrupt = pending::valid | 0x51;
    g.page().rflags |= x86::rflags::IF;
    g.page().virtual_apic = virtual_apic::task_priority;
    g.page().apic_page = own;
    ASSERT_EQ(g.take(), 0u);
    EXPECT_EQ(g.vmcs().fields.count(vmx::encoding(Field::EOI_EXIT_BITMAP_2)), 0u);
    EXPECT_EQ(g.vmcs().fields.count(vmx::encoding(Field::GUEST_INTERRUPT_STATUS)), 0u);
    EXPECT_EQ(task_priority(g.vcpu()), 0x65u) << "not the kernel's to write";
    ASSERT_EQ(exit(vmx::ExitReason::HLT), ExitReason::hlt);
    EXPECT_EQ(g.field(Field::TPR_THRESHOLD), 5u);
    EXPECT_EQ(g.field(Field::ENTRY_INTERRUPTION_INFO) & vmx::interruption::VALID, 0u);
    EXPECT_EQ(g.page().tpr, 6u);
    task_priority(g.vcpu()) = 0x42; // the guest lowers it
    ASSERT_EQ(exit(vmx::ExitReason::HLT), ExitReason::hlt);
    EXPECT_EQ(g.field(Field::ENTRY_INTERRUPTION_INFO), vmx::interruption::VALID | 0x51u);
    EXPECT_EQ(g.page().pending_interrupt, 0u);
}

// Exits of the virtual APIC tell their qualification; those after the instruction no length.
TEST_F(VmxApic, ExitsSayWhatTheyAreAbout) {
    const struct {
        vmx::ExitReason from;
        ExitReason to;
    } rows[] = {{vmx::ExitReason::VIRTUALIZED_EOI, ExitReason::eoi},
                {vmx::ExitReason::APIC_WRITE, ExitReason::apic_write},
                {vmx::ExitReason::APIC_ACCESS, ExitReason::apic_access}};
    ASSERT_EQ(ask(virtual_apic::memory, own), 0u);
    for (const auto& row : rows) {
        EXPECT_EQ(exit(row.from, 0x10f0), row.to);
        EXPECT_EQ(g.page().info[0], 0x10f0u);
        EXPECT_EQ(g.page().next_rip, 0u);
        EXPECT_EQ(g.page().virtual_apics, virtual_apic::known);
    }
}

// Which of the guest's exits are what to a monitor (appendix C): all others are the kernel's or
// unknown.
TEST_F(VmxApic, EachReasonHasItsMeaning) {
    using R = vmx::ExitReason;
    using E = ExitReason;
    const std::map<R, E> known = {{R::TRIPLE_FAULT, E::shutdown},
                                  {R::NMI_WINDOW, E::nmi_window},
                                  {R::TASK_SWITCH, E::task_switch},
                                  {R::CPUID, E::cpuid},
                                  {R::GETSEC, E::svm_vmx_instruction},
                                  {R::HLT, E::hlt},
                                  {R::INVD, E::invd},
                                  {R::INVLPG, E::invlpg},
                                  {R::RDPMC, E::rdpmc},
                                  {R::RDTSC, E::rdtsc},
                                  {R::RSM, E::rsm},
                                  {R::VMCALL, E::vmcall},
                                  {R::VMCLEAR, E::svm_vmx_instruction},
                                  {R::VMLAUNCH, E::svm_vmx_instruction},
                                  {R::VMPTRLD, E::svm_vmx_instruction},
                                  {R::VMPTRST, E::svm_vmx_instruction},
                                  {R::VMREAD, E::svm_vmx_instruction},
                                  {R::VMRESUME, E::svm_vmx_instruction},
                                  {R::VMWRITE, E::svm_vmx_instruction},
                                  {R::VMXOFF, E::svm_vmx_instruction},
                                  {R::VMXON, E::svm_vmx_instruction},
                                  {R::CR_ACCESS, E::cr_access},
                                  {R::IO, E::io},
                                  {R::RDMSR, E::rdmsr},
                                  {R::WRMSR, E::wrmsr},
                                  {R::MWAIT, E::mwait},
                                  {R::MONITOR, E::monitor},
                                  {R::PAUSE, E::pause},
                                  {R::APIC_ACCESS, E::apic_access},
                                  {R::VIRTUALIZED_EOI, E::eoi},
                                  {R::GDTR_IDTR_ACCESS, E::descriptor_access},
                                  {R::LDTR_TR_ACCESS, E::descriptor_access},
                                  {R::EPT_VIOLATION, E::memory},
                                  {R::INVEPT, E::svm_vmx_instruction},
                                  {R::RDTSCP, E::rdtscp},
                                  {R::INVVPID, E::svm_vmx_instruction},
                                  {R::WBINVD, E::wbinvd},
                                  {R::XSETBV, E::xsetbv},
                                  {R::APIC_WRITE, E::apic_write},
                                  {R::VMFUNC, E::svm_vmx_instruction}};
    const std::set<R> kernels = {R::EXCEPTION_OR_NMI,
                                 R::EXTERNAL_INTERRUPT,
                                 R::INIT,
                                 R::SIPI,
                                 R::INTERRUPT_WINDOW,
                                 R::MOV_DR,
                                 R::ENTRY_GUEST_STATE,
                                 R::ENTRY_MSR_LOAD,
                                 R::ENTRY_MACHINE_CHECK,
                                 R::TPR_BELOW_THRESHOLD,
                                 R::EPT_MISCONFIGURATION,
                                 R::PREEMPTION_TIMER};
    ASSERT_EQ(ask(virtual_apic::none), 0u);
    for (u32 n = 0; n <= 80; ++n) {
        const R reason = static_cast<R>(n);
        if (kernels.contains(reason))
            continue;
        const auto found = known.find(reason);
        EXPECT_EQ(exit(reason), found == known.end() ? E::unknown : found->second) << n;
    }
}

} // namespace
} // namespace horos::test
