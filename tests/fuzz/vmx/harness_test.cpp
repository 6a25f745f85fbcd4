// What the VMX fuzzer makes of a result, and that its harness leaves no case's traces to the next.
#include "bochs.hpp"
#include "judge.hpp"
#include "report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

using namespace horos::fuzz::vmx;
namespace model = horos::model::vmx;
using F = Field;

namespace {

const Profile& skylake() {
    static const Profile profile = model::builtin_profile("bochs-2.7-skylake-x");
    return profile;
}

Result exit_of_vmcall() {
    Result result{};
    result.outcome = EXITED;
    result.value[model::slot_of(F::EXIT_REASON)] = 18;
    return result;
}

std::optional<Divergence> verdict_on(const horos::fuzz::vmx::Test& test, const Result& result) {
    return judge(test, skylake(), HostValues{}, result, {}).divergence;
}

TEST(VmxJudge, ANullSsIsOneCauseWhateverOfItIsWrong) {
    horos::fuzz::vmx::Test test;
    test.state = model::default_state(skylake());
    test.state[F::GUEST_SS_SELECTOR] = 0;
    test.state[F::GUEST_SS_RIGHTS] = 0; // usable; type, S, P and G are wrong
    const auto all = verdict_on(test, exit_of_vmcall());
    ASSERT_TRUE(all);
    EXPECT_EQ(all->overlooked, "vmx.entry.guest.ss with a null selector");
    test.state[F::GUEST_SS_SELECTOR] = 0x10;
    const auto other = verdict_on(test, exit_of_vmcall());
    ASSERT_TRUE(other);
    EXPECT_EQ(other->overlooked, "");
    EXPECT_EQ(other->what, "entered");
}

TEST(VmxJudge, ARefusalForTheRplOfCsIsOneCauseWhateverElseIsInTheState) {
    horos::fuzz::vmx::Test test;
    test.state = model::default_state(skylake());
    Result result{};
    result.outcome = EXITED;
    result.value[model::slot_of(F::EXIT_REASON)] = 0x80000000 | 33;
    const auto refused = verdict_on(test, result);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->overlooked, "");
    test.state[F::GUEST_CS_SELECTOR] = 0x0b; // DPL 0, as SS has it
    const auto rpl = verdict_on(test, result);
    ASSERT_TRUE(rpl);
    EXPECT_EQ(rpl->overlooked, "vmx.entry.guest.cs.dpl, by RPL");
    result.value[model::slot_of(F::EXIT_QUALIFICATION)] = 2; // another reason than that
    EXPECT_NE(verdict_on(test, result)->overlooked, rpl->overlooked);
}

TEST(VmxJudge, AnOverlookedHostRuleIsTheDivergenceNotWhatTheExitThenLoads) {
    horos::fuzz::vmx::Test test;
    test.state = model::default_state(skylake());
    Result result = exit_of_vmcall();
    result.host_changed = 0x14; // CR0 and CR4
    const auto plain = verdict_on(test, result);
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->what, "host state changed");
    test.state[F::HOST_CR3] = ~0ull;
    const auto host = verdict_on(test, result);
    ASSERT_TRUE(host);
    EXPECT_EQ(host->overlooked, "vmx.entry.host.cr3");
}

// A guest that unmasks a device's interrupt leaves it to the guests after it.
TEST(VmxGuests, AccessOnlyPortsThatStandForNothing) {
    std::mt19937_64 random(1);
    const RuleState base = model::default_state(skylake());
    unsigned with_port = 0;
    for (unsigned n = 0; n < 20000; ++n) {
        const auto test = guest_test(base, skylake(), random);
        const uint8_t first = test.guest.code[0];
        if (first < 0x6c || first > 0x6f) { // INS, OUTS
            continue;
        }
        ++with_port;
        const uint64_t port = test.guest.gpr[2];
        EXPECT_TRUE(port == 0x80 || port == 0x84 || port == 0x378 || port >= 0x7ffe) << port;
        EXPECT_LE(port, 0xffffu);
    }
    EXPECT_GT(with_port, 100u);
}

// The address that a case has left changed, or 0.
uint64_t left_changed(Bochs& bochs) {
    Case check{};
    check.flags = FLAG_CHECK;
    return bochs.run({check}).at(0).value[0];
}

void start(Bochs& bochs) {
    bochs.start();
    const FieldLists lists = field_lists(skylake());
    bochs.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
}

// A guest that stores EDX to what RBX points to, and is at CPL 0 in 64-bit mode.
horos::fuzz::vmx::Test storing_guest(const HostValues& host, uint64_t address, bool ept) {
    horos::fuzz::vmx::Test guest;
    guest.kind = Kind::GUEST;
    RuleState state = model::default_state(skylake());
    state[F::GUEST_RIP] = CODE_PA;
    if (!ept) {
        state[F::PROC_CONTROLS_2] &=
            ~uint64_t{horos::vmx::proc2::ENABLE_EPT | horos::vmx::proc2::UNRESTRICTED_GUEST};
    }
    guest.state = canonical_guest(state, skylake(), host);
    guest.guest.gpr[2] = 0x12345678;
    guest.guest.gpr[3] = address;
    guest.guest.code_bytes = CODE_BYTES;
    std::fill_n(guest.guest.code, CODE_BYTES, uint8_t{0x90});
    std::memcpy(guest.guest.code, "\x89\x13\x0f\x01\xc1", 5); // mov [rbx], edx; vmcall
    return guest;
}

TEST(VmxHarness, WhatAGuestStoresToItsTablesIsTakenBack) {
    Bochs bochs("corei7_skylake_x");
    start(bochs);
    // Its tables by EPT; without EPT anything.
    const std::pair<uint64_t, bool> stores[] = {
        {GUEST_PD32_PA + 0x5a0, true},  {PAE_PDPT_PA + 0xc90, true}, {GUEST_PD_PA + 0xa0, true},
        {GUEST_PML4_PA + 0xbd0, true},  {EPT_PT_PA + 0x800, false},  {HANDLER_PA + 0x800, false},
        {DESCRIPTORS_PA + 0x18, false}, {IDT_PA + 0x20, false}};
    for (const auto& [address, ept] : stores) {
        auto guest = storing_guest(bochs.host(), address, ept);
        guest.guest.poke[guest.guest.pokes++] = {LOG_PA + 8, 0};
        const Result result = bochs.run({make_case(guest)}).at(0);
        ASSERT_EQ(result.outcome, EXITED) << std::hex << address;
        EXPECT_EQ(at(result, F::EXIT_REASON), 18u) << std::hex << address; // it did store
        EXPECT_EQ(left_changed(bochs), 0u) << std::hex << address;
    }
}

TEST(VmxHarness, ACaseThatLeavesMemoryChangedIsNoticed) {
    for (const uint64_t address : {uint64_t{IDT_PA} + 0x20, uint64_t{0x1000080}}) {
        Bochs bochs("corei7_skylake_x");
        start(bochs);
        (void)bochs.run({make_case(storing_guest(bochs.host(), DATA_PA, true))});
        EXPECT_EQ(left_changed(bochs), 0u);
        horos::fuzz::vmx::Test sequence; // its steps may write anywhere
        sequence.kind = Kind::SEQUENCE;
        sequence.steps.push_back({STEP_REVISION, 0, 0, address, 0x12345678, 0});
        (void)bochs.run({make_case(sequence)});
        EXPECT_EQ(left_changed(bochs), address);
    }
}

// Bochs does not end virtual-NMI blocking at an entry (triage: virtual-nmi-sticks); the harness
// ends it, so that the NMI window of the next guest opens.
TEST(VmxHarness, BlockingByNmiDoesNotReachTheNextGuest) {
    namespace vmx = horos::vmx;
    Bochs bochs("corei7_skylake_x");
    start(bochs);
    horos::fuzz::vmx::Test launch;
    launch.state = canonical(model::default_state(skylake()), skylake(), bochs.host());
    auto blocked = storing_guest(bochs.host(), DATA_PA, true);
    blocked.state[F::PIN_CONTROLS] |= vmx::pin::NMI_EXITING | vmx::pin::VIRTUAL_NMIS;
    blocked.state[F::GUEST_INTERRUPTIBILITY] = vmx::interruptibility::BLOCKING_BY_NMI;
    auto window = blocked;
    window.state[F::PROC_CONTROLS] |= vmx::proc::NMI_WINDOW_EXITING;
    window.state[F::GUEST_INTERRUPTIBILITY] = 0;
    const auto results = bochs.run({make_case(launch), make_case(blocked), make_case(window)});
    EXPECT_EQ(at(results[1], F::EXIT_REASON), 18u);
    EXPECT_EQ(at(results[1], F::GUEST_INTERRUPTIBILITY), vmx::interruptibility::BLOCKING_BY_NMI);
    EXPECT_EQ(at(results[2], F::EXIT_REASON), 8u);
    EXPECT_EQ(at(results[2], F::GUEST_INTERRUPTIBILITY), 0u);
}

// Zeros at 200000h are ADD [RAX], AL: a sequence that enters a guest there stores to the data page
// by the registers that the guest before it left.
TEST(VmxHarness, AGuestFindsItsDataPageEmptyAfterASequence) {
    Bochs bochs("corei7_skylake_x");
    bochs.start();
    const FieldLists lists = field_lists(skylake());
    bochs.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
    horos::fuzz::vmx::Test guest;
    guest.kind = Kind::GUEST;
    guest.state = canonical(model::default_state(skylake()), skylake(), bochs.host());
    guest.guest.gpr[0] = DATA_PA + 0x10;
    guest.guest.code_bytes = CODE_BYTES;
    std::fill_n(guest.guest.code, CODE_BYTES, uint8_t{0x90});
    std::memcpy(guest.guest.code, "\x0f\x01\xc1", 3);
    horos::fuzz::vmx::Test sequence;
    sequence.kind = Kind::SEQUENCE;
    sequence.state = guest.state;
    sequence.state[F::GUEST_RIP] = 0x200000;
    const auto step = [&](model::Instruction instruction) {
        Operand operand{};
        operand.instruction = uint16_t(instruction);
        operand.operand = SEQUENCE_PA;
        sequence.steps.push_back(operand);
    };
    step(model::Instruction::VMCLEAR);
    step(model::Instruction::VMPTRLD);
    sequence.steps.push_back({STEP_FILL, 0, 0, 0, 0, 0});
    step(model::Instruction::VMLAUNCH);
    const auto results = bochs.run({make_case(guest), make_case(sequence), make_case(guest)});
    ASSERT_EQ(results[0].outcome, EXITED);
    ASSERT_EQ(results[1].value[7] & 0xffff, 52u)
        << "the preemption timer ends the sequence's guest";
    ASSERT_EQ(results[2].outcome, EXITED);
    for (unsigned n = 0; n < 8; ++n) {
        EXPECT_EQ(results[2].data[n], 0u) << n;
    }
}

// Counts its runs in an MSR that no entry loads: mov ecx, c0000102h; rdmsr; inc eax; wrmsr; vmcall.
horos::fuzz::vmx::Test counting_guest(const HostValues& host) {
    constexpr uint8_t CODE[] = {0xb9, 0x02, 0x01, 0x00, 0xc0, 0x0f, 0x32, 0xff,
                                0xc0, 0x0f, 0x30, 0x0f, 0x01, 0xc1, 0x90, 0x90};
    horos::fuzz::vmx::Test guest;
    guest.kind = Kind::GUEST;
    RuleState state = model::default_state(skylake());
    state[F::PROC_CONTROLS] |= horos::vmx::proc::USE_MSR_BITMAPS;
    guest.state = canonical_guest(state, skylake(), host);
    guest.state[F::GUEST_RIP] = CODE_PA;
    guest.guest.code_bytes = sizeof CODE;
    std::memcpy(guest.guest.code, CODE, sizeof CODE);
    return guest;
}

TEST(VmxHarness, ACaseOfTwoEntriesRunsItsGuestTwiceAndTakesItsChangesBack) {
    Bochs bochs("corei7_skylake_x");
    bochs.start();
    const FieldLists lists = field_lists(skylake());
    bochs.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
    const auto once = counting_guest(bochs.host());
    auto twice = once;
    const uint64_t entry = GUEST_PT_PA + (CODE_PA >> 12 & 511) * 8;
    twice.guest.poke[twice.guest.pokes++] = {entry, CODE_PA | 0x67};
    twice.twice.edits = 1;
    twice.twice.edit[0] = {entry, CODE_PA | 0x67};
    // At first without code: that guest ends at the filler's VMCALL.
    auto elsewhere = twice;
    elsewhere.twice.edit[0].value = HANDLER_PA | 0x67;
    elsewhere.twice.fields = 1;
    elsewhere.twice.field[0] = {horos::vmx::encoding(F::VPID), 2};
    elsewhere.state[F::PROC_CONTROLS_2] |= horos::vmx::proc2::ENABLE_VPID;
    elsewhere.state[F::VPID] = 1;
    const auto results =
        bochs.run({make_case(once), make_case(twice), make_case(elsewhere), make_case(once)});
    std::vector<uint64_t> counts;
    for (const Result& result : results) {
        ASSERT_EQ(result.outcome, EXITED);
        ASSERT_EQ(at(result, F::EXIT_REASON), 18u) << counts.size();
        counts.push_back(result.gpr[0] & 0xffffffff);
    }
    EXPECT_EQ(counts[1], counts[0] + 2);
    EXPECT_EQ(counts[2], counts[1] + 1);
    EXPECT_EQ(counts[3], counts[2] + 1);
    EXPECT_EQ(at(results[2], F::GUEST_RIP), CODE_PA + 11);
    const auto again = test_from_json(to_json(elsewhere)).twice;
    EXPECT_EQ(std::memcmp(&again, &elsewhere.twice, sizeof again), 0);
}

} // namespace
