// What the VMM is told for each exit code of the APM's appendix C.
#include "support/check.hpp"
#include "support/scenario.hpp"
#include <gtest/gtest.h>

namespace horos::test {

using svm::ExitCode;

struct Exits : testing::Test {
    Scenario w;
    Frame vcpu = 0;

    void SetUp() override { build({}); }
    void build(const MachineOptions& options) {
        w.~Scenario();
        new (&w) Scenario;
        w.build(options);
        vcpu = w.object(sel::vcpu1);
        journal_begin();
        page().deadline = no_deadline;
        page().dirty = group::policy | group::events;
        page().xcr0 = 1;
        page().extra_exits = extra_exit::known;
        page().wanted = group::all;
    }
    VcpuState& page() { return state_pages[vcpus[vcpu].state].state; }

    // Runs the guest to one exit; gives back its reason.
    ExitReason exit(u64 code, u64 info1 = 0, u64 info2 = 0, u64 interrupted = 0) {
        w.s.guest = [=](u32, svm::Vmcb& b) {
            b.control.exit_code = code;
            b.control.exit_info_1 = info1;
            b.control.exit_info_2 = info2;
            b.control.exit_int_info = interrupted;
            b.control.next_rip = machine.has_next_rip != 0 ? b.save.rip + 2 : 0;
            b.control.instruction_bytes_fetched = 3;
        };
        const Outcome out = w.s.call(0, Call::vcpu_run, {sel::vcpu1});
        EXPECT_TRUE(out.ok());
        EXPECT_EQ(out.values.v[0], page().exit_reason);
        EXPECT_NO_THROW(check_invariants());
        return static_cast<ExitReason>(page().exit_reason);
    }
    ExitReason exit(ExitCode code, u64 info1 = 0, u64 info2 = 0) {
        return exit(static_cast<u64>(code), info1, info2);
    }
};

TEST_F(Exits, EachCodeHasItsReason) {
    const struct {
        ExitCode code;
        ExitReason reason;
    } table[] = {{ExitCode::VINTR, ExitReason::window},
                 {ExitCode::RDTSC, ExitReason::rdtsc},
                 {ExitCode::RDPMC, ExitReason::rdpmc},
                 {ExitCode::PUSHF, ExitReason::pushf_popf},
                 {ExitCode::POPF, ExitReason::pushf_popf},
                 {ExitCode::CPUID, ExitReason::cpuid},
                 {ExitCode::RSM, ExitReason::rsm},
                 {ExitCode::IRET, ExitReason::nmi_window},
                 {ExitCode::SWINT, ExitReason::software_interrupt},
                 {ExitCode::INVD, ExitReason::invd},
                 {ExitCode::PAUSE, ExitReason::pause},
                 {ExitCode::HLT, ExitReason::hlt},
                 {ExitCode::INVLPG, ExitReason::invlpg},
                 {ExitCode::INVLPGA, ExitReason::svm_vmx_instruction},
                 {ExitCode::TASK_SWITCH, ExitReason::task_switch},
                 {ExitCode::SHUTDOWN, ExitReason::shutdown},
                 {ExitCode::VMRUN, ExitReason::svm_vmx_instruction},
                 {ExitCode::VMMCALL, ExitReason::vmcall},
                 {ExitCode::VMLOAD, ExitReason::svm_vmx_instruction},
                 {ExitCode::VMSAVE, ExitReason::svm_vmx_instruction},
                 {ExitCode::STGI, ExitReason::svm_vmx_instruction},
                 {ExitCode::CLGI, ExitReason::svm_vmx_instruction},
                 {ExitCode::SKINIT, ExitReason::svm_vmx_instruction},
                 {ExitCode::RDTSCP, ExitReason::rdtscp},
                 {ExitCode::WBINVD, ExitReason::wbinvd},
                 {ExitCode::MONITOR, ExitReason::monitor},
                 {ExitCode::MWAIT, ExitReason::mwait},
                 {ExitCode::MWAIT_CONDITIONAL, ExitReason::mwait},
                 {ExitCode::XSETBV, ExitReason::xsetbv},
                 {ExitCode::INVALID, ExitReason::entry_refused},
                 {ExitCode::SMI, ExitReason::unknown},
                 {ExitCode::FERR_FREEZE, ExitReason::unknown},
                 {ExitCode::ICEBP, ExitReason::unknown},
                 {ExitCode::RDPRU, ExitReason::unknown},
                 {ExitCode::CR0_WRITE_TRAP, ExitReason::unknown},
                 {ExitCode::VMGEXIT, ExitReason::unknown},
                 {ExitCode::BUSY, ExitReason::unknown}};
    for (const auto& row : table) {
        EXPECT_EQ(exit(row.code), row.reason) << std::hex << static_cast<u64>(row.code);
        if (row.reason == ExitReason::unknown || row.reason == ExitReason::svm_vmx_instruction)
            EXPECT_EQ(page().info[0], static_cast<u64>(row.code));
    }
}

TEST_F(Exits, RegistersAndVectorsAreNamed) {
    for (u64 n = 0; n < 32; ++n) {
        EXPECT_EQ(exit(n), ExitReason::cr_access);
        EXPECT_EQ(page().info[0], n);
        EXPECT_EQ(exit(0x20 + n), ExitReason::dr_access);
        EXPECT_EQ(page().info[0], n);
        if (n == 18)
            continue;
        EXPECT_EQ(exit(0x40 + n, 77, 88), ExitReason::exception);
        EXPECT_EQ(page().info[0], n);
        EXPECT_EQ(page().info[1], 77u);
        EXPECT_EQ(page().info[2], 88u);
    }
    for (u64 code = 0x66; code <= 0x6d; ++code)
        EXPECT_EQ(exit(code), ExitReason::descriptor_access);
    EXPECT_EQ(exit(ExitCode::CR0_SEL_WRITE), ExitReason::cr_access);
    EXPECT_EQ(page().info[0], 16u);
}

TEST_F(Exits, PortsMemoryAndMsrs) {
    const u64 rip = 0x100;
    page().rip = rip;
    EXPECT_EQ(exit(ExitCode::IOIO,
                   0x3f8 << 16 | svm::ioio::IN | svm::ioio::SZ16 | svm::ioio::A32 | svm::ioio::STR |
                       svm::ioio::REP | 3 << 10,
                   rip + 3),
              ExitReason::io);
    EXPECT_EQ(page().info[0],
              u64{0x3f8} << io_access::port_shift | io_access::in | io_access::string |
                  io_access::rep | u64{2} << io_access::bytes_shift |
                  u64{2} << io_access::address_shift | u64{3} << io_access::segment_shift);
    EXPECT_EQ(page().next_rip, rip + 3);
    EXPECT_EQ(exit(ExitCode::NPF, svm::npf::RW | svm::npf::ID | svm::npf::P | svm::npf::TABLE,
                   0xfee0'0300),
              ExitReason::memory);
    EXPECT_EQ(page().info[0], 0xfee0'0300u);
    EXPECT_EQ(page().info[1], memory_flag::write | memory_flag::fetch | memory_flag::present |
                                  memory_flag::page_walk);
    EXPECT_EQ(exit(ExitCode::NPF, svm::npf::FINAL | svm::npf::US), ExitReason::memory);
    EXPECT_EQ(page().info[1], 0u);
    EXPECT_EQ(exit(ExitCode::MSR, 0), ExitReason::rdmsr);
    EXPECT_EQ(exit(ExitCode::MSR, 1), ExitReason::wrmsr);
}

TEST_F(Exits, WhatWasBeingDeliveredIsHandedBackUnlessItStartsOver) {
    const auto interrupted = [&](u64 type, u64 vector) {
        exit(0x72, 0, 0, event::valid | type << 8 | vector);
        return page().interrupted_event;
    };
    EXPECT_EQ(interrupted(event::external, 0x30), event::valid | 0x30);
    EXPECT_EQ(interrupted(event::nmi, 2), event::valid | event::nmi << 8 | 2);
    EXPECT_EQ(interrupted(event::exception, 14), event::valid | event::exception << 8 | 14);
    EXPECT_EQ(interrupted(event::exception, 3), 0u);
    EXPECT_EQ(interrupted(event::exception, 4), 0u);
    EXPECT_EQ(interrupted(event::software, 0x80), 0u);
    exit(0x72, 0, 0, 0x30);
    EXPECT_EQ(page().interrupted_event, 0u);
}

TEST_F(Exits, TheKernelsOwnExitsAreNotTold) {
    for (const u64 code : {0x60, 0x61, 0x63}) {
        u32 rounds = 0;
        w.s.guest = [&](u32, svm::Vmcb& b) {
            b.control.exit_code = rounds++ < 2 ? code : 0x72;
            b.control.exit_int_info = rounds == 1 ? event::valid | 0x44 : 0;
            if (rounds == 2)
                EXPECT_EQ(b.control.event_inj, event::valid | 0x44); // delivered again
        };
        EXPECT_TRUE(w.s.call(0, Call::vcpu_run, {sel::vcpu1}).ok());
        EXPECT_EQ(rounds, 3u);
        EXPECT_EQ(page().exit_reason, static_cast<u32>(ExitReason::cpuid));
    }
    w.s.guest = [](u32, svm::Vmcb& b) { b.control.exit_code = 0x40 + 18; };
    EXPECT_ANY_THROW(w.s.call(0, Call::vcpu_run, {sel::vcpu1})); // machine check: fail closed
}

TEST_F(Exits, DebugRegistersAreGivenOnFirstUse) {
    build({});
    page().extra_exits = 0;
    u32 rounds = 0;
    w.s.guest = [&](u32, svm::Vmcb& b) { b.control.exit_code = rounds++ == 0 ? 0x31 : 0x72; };
    EXPECT_TRUE(w.s.call(0, Call::vcpu_run, {sel::vcpu1}).ok());
    EXPECT_EQ(rounds, 2u);
    EXPECT_NO_THROW(check_invariants());
}

TEST_F(Exits, InstructionIsToldAsFarAsTheProcessorDoes) {
    page().rip = 0x100;
    exit(ExitCode::CPUID);
    EXPECT_EQ(page().next_rip, 0x102u);
    exit(ExitCode::NPF);
    EXPECT_EQ(page().instruction_count, 3u);
    build({2, 4, false, false});
    exit(ExitCode::CPUID);
    EXPECT_EQ(page().next_rip, 0u);
    exit(ExitCode::NPF);
    EXPECT_EQ(page().instruction_count, 0u);
}

TEST_F(Exits, DeadlineAndSignalComeBackWithoutTheGuest) {
    page().deadline = shell.now;
    page().inject = event::valid | 0x20;
    page().dirty = group::events;
    Outcome out = w.s.call(0, Call::vcpu_run, {sel::vcpu1});
    EXPECT_EQ(out.values.v[0], static_cast<u64>(ExitReason::deadline));
    EXPECT_EQ(page().interrupted_event, event::valid | 0x20); // it was not injected
    w.must(Call::thread_bind, {sel::thread0, sel::note1});
    w.must(Call::signal, {sel::note1, 5});
    page().deadline = no_deadline;
    page().dirty = group::events;
    out = w.s.call(0, Call::vcpu_run, {sel::vcpu1});
    EXPECT_EQ(out.values.v[0], static_cast<u64>(ExitReason::notified));
    EXPECT_EQ(page().info[0], 5u);
}

} // namespace horos::test
