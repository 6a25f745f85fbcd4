// Guest and nested walks (APM vol. 2 rev. 3.42 §5.3 to §5.6, §15.25), and memory types.
#include "guest_builder.hpp"
#include "horos/model/svm/memory_type.hpp"

#include <gtest/gtest.h>

namespace horos::model::svm::test {
namespace {

namespace pte = x86::pte;
namespace npf = horos::svm::npf;
constexpr uint64_t TARGET = 0x400000; // a linear address of its own page tables

// A guest that reads (48 8b 03), writes (48 89 03) or jumps to (ff e3) [rbx] = TARGET.
class Walk : public ::testing::Test {
protected:
    Walk() {
        g.control().intercept_exceptions = 1u << 14;
        g.machine.guest.gpr[static_cast<size_t>(Gpr::RBX)] = TARGET;
        read();
        // TARGET -> page table at TABLES + 0x3000 -> DATA
        g.put(g.TABLES + 0x2000 + 8 * (TARGET >> 21),
              (g.TABLES + 0x3000) | pte::P | pte::RW | pte::US);
        leaf(g.DATA | pte::P | pte::RW | pte::US);
        g.ram[g.DATA] = 0x0f;
        g.ram[g.DATA + 1] = 0x01;
        g.ram[g.DATA + 2] = 0xd9;
    }
    void leaf(uint64_t entry) { g.put(g.TABLES + 0x3000, entry); }
    void read() { g.code({0x48, 0x8b, 0x03}); }
    void write() { g.code({0x48, 0x89, 0x03}); }
    void jump() { g.code({0xff, 0xe3}); }
    // #PF error code, or -1 if the access went through.
    int64_t error() {
        const Outcome out = g.only();
        if (exit_code_name(out.exit_code) == "VMEXIT_VMMCALL") {
            return -1;
        }
        EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP14") << out.why;
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), TARGET);
        return static_cast<int64_t>(saved(out, HOROS_CONTROL(exit_info_1)));
    }
    uint8_t written(const Outcome& out, uint64_t address) {
        for (const MemoryWrite& w : out.writes) {
            if (w.address == address) {
                return w.value;
            }
        }
        return 0;
    }
    GuestBuilder g;
};

TEST_F(Walk, PresentPageIsReadAndMarkedAccessed) {
    const Outcome out = g.only();
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL") << out.why;
    EXPECT_EQ(written(out, g.TABLES + 0x3000) & (pte::A | pte::D), pte::A);
    EXPECT_NE(written(out, g.TABLES) & pte::A, 0);
}
TEST_F(Walk, WriteSetsDirtyInTheLeafOnly) {
    write();
    const Outcome out = g.only();
    EXPECT_EQ(written(out, g.TABLES + 0x3000) & (pte::A | pte::D), pte::A | pte::D);
    EXPECT_EQ(written(out, g.TABLES) & pte::D, 0);
}
TEST_F(Walk, NotPresent) {
    leaf(0);
    EXPECT_EQ(error(), 0);
    write();
    EXPECT_EQ(error(), 2);
    g.cpl3();
    EXPECT_EQ(error(), 6);
}
TEST_F(Walk, ReadOnlyPageDependsOnWpAndCpl) {
    leaf(g.DATA | pte::P | pte::US);
    write();
    EXPECT_EQ(error(), 3);
    g.save().cr0 &= ~x86::cr0::WP;
    EXPECT_EQ(error(), -1);
    g.cpl3();
    EXPECT_EQ(error(), 7);
}
TEST_F(Walk, SupervisorPageFromUser) {
    leaf(g.DATA | pte::P | pte::RW);
    g.cpl3();
    EXPECT_EQ(error(), 5);
}
TEST_F(Walk, NoExecute) {
    jump();
    leaf(g.DATA | pte::P | pte::RW | pte::NX);
    EXPECT_EQ(error(), 9) << "NX is reserved while EFER.NXE is clear";
    g.save().efer |= x86::efer::NXE;
    EXPECT_EQ(error(), 0x11);
    leaf(g.DATA | pte::P | pte::RW);
    EXPECT_EQ(error(), -1);
}
// SMEP and SMAP in turn: the code page is a user page of its own 2-MiB mapping, so that has to
// become a supervisor page first.
TEST_F(Walk, SmepAndSmap) {
    g.put(g.TABLES + 0x2000, 0 | pte::P | pte::RW | pte::PS | pte::A | pte::D);
    jump();
    g.save().cr4 |= x86::cr4::SMEP;
    EXPECT_EQ(error() & ~0x10, 1);
    g.save().cr4 = x86::cr4::PAE | x86::cr4::SMAP;
    read();
    EXPECT_EQ(error(), 1);
    g.save().rflags |= x86::rflags::AC;
    EXPECT_EQ(error(), -1);
}
TEST_F(Walk, AddressBitsBeyondThePartAreReserved) {
    leaf(g.DATA | pte::P | pte::RW | pte::US | 1ull << 40); // the profile has 40 bits
    EXPECT_EQ(error(), 9);
}
TEST_F(Walk, LargePageOffsetBitsAreReserved) {
    g.put(g.TABLES + 0x2000 + 8 * (TARGET >> 21),
          pte::P | pte::RW | pte::US | pte::PS | 1ull << 13);
    EXPECT_EQ(error(), 9);
    g.put(g.TABLES + 0x2000 + 8 * (TARGET >> 21), pte::P | pte::RW | pte::US | pte::PS);
    EXPECT_EQ(error(), -1);
}
TEST_F(Walk, GigabytePages) {
    g.code({}); // TARGET would be beyond the memory of the test
    g.put(g.TABLES + 0x1000, pte::P | pte::RW | pte::US | pte::PS);
    EXPECT_EQ(exit_code_name(g.only().exit_code), "VMEXIT_VMMCALL");
    g.put(g.TABLES + 0x1000, pte::P | pte::RW | pte::US | pte::PS | 1ull << 20);
    const Outcome out = g.only();
    EXPECT_EQ(exit_code_name(out.exit_code), "VMEXIT_EXCP14");
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), g.CODE);
}
TEST_F(Walk, Bit7And8OfAPml4EntryAreReserved) {
    for (const uint64_t bit : {pte::PS, pte::G}) {
        g.put(g.TABLES, (g.TABLES + 0x1000) | pte::P | pte::RW | pte::US | bit);
        EXPECT_EQ(saved(g.only(), HOROS_CONTROL(exit_info_1)) & ~0x10ull, 9u);
    }
}

// A page-fault error code must not depend on nested paging, and NPF reports the final access.
TEST_F(Walk, GuestPermissionsComeBeforeTheFinalNestedWalk) {
    g.nested_paging();
    write();
    leaf(g.DATA | pte::P | pte::US);
    g.put(g.NESTED + 0x3000 + 8 * (g.DATA >> 12), 0);
    EXPECT_EQ(error(), 3);
}
TEST_F(Walk, NestedNotPresentExecuteAndRead) {
    g.nested_paging();
    g.put(g.NESTED + 0x3000 + 8 * (g.DATA >> 12), 0);
    {
        const Outcome out = g.only();
        ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_NPF") << out.why;
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::US | npf::FINAL);
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), g.DATA);
        EXPECT_EQ(saved(out, HOROS_SAVE(rip)), g.CODE);
    }
    jump();
    {
        const Outcome out = g.only();
        EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::US | npf::FINAL | npf::ID);
        EXPECT_EQ(saved(out, HOROS_SAVE(rip)), TARGET);
    }
}
TEST_F(Walk, NestedReservedBit) {
    g.nested_paging();
    g.put(g.NESTED + 0x3000 + 8 * (g.DATA >> 12), g.DATA | pte::P | pte::RW | pte::US | 1ull << 45);
    const Outcome out = g.only();
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::P | npf::RSV | npf::US | npf::FINAL);
}
TEST_F(Walk, NestedSupervisorPageRefusesEverything) {
    g.nested_paging();
    g.put(g.NESTED + 0x3000 + 8 * (g.DATA >> 12), g.DATA | pte::P | pte::RW);
    const Outcome out = g.only();
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), npf::P | npf::US | npf::FINAL);
}
// The walk of the guest's tables is a write: their nested pages become dirty even for a read.
TEST_F(Walk, NestedPagesOfGuestTablesBecomeDirty) {
    g.nested_paging();
    const Outcome out = g.only();
    ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL") << out.why;
    EXPECT_NE(written(out, g.NESTED + 0x3000 + 8 * (g.TABLES >> 12)) & pte::D, 0);
    EXPECT_EQ(written(out, g.NESTED + 0x3000 + 8 * (g.DATA >> 12)) & (pte::A | pte::D), pte::A);
}

// Decode assists: up to 15 instruction bytes with a data fault, none with a fetch (§15.8.4).
TEST_F(Walk, InstructionBytesOfDataFaults) {
    g.machine.profile = &builtin_profile("amd-zen3-milan");
    leaf(0);
    const Outcome out = g.only();
    EXPECT_EQ(saved(out, HOROS_CONTROL(instruction_bytes_fetched), 1), 15u);
    EXPECT_EQ(saved(out, HOROS_CONTROL(instruction_bytes), 6), 0xd9010f038b48u);
    jump();
    EXPECT_EQ(saved(g.only(), HOROS_CONTROL(instruction_bytes_fetched), 1), 0u);
}

TEST(LegacyPaging, FourMegabytePagesNeedPse) {
    GuestBuilder g;
    g.code({}).protected32();
    g.save().cr0 |= x86::cr0::PG;
    g.save().cr3 = g.TABLES;
    g.put(g.TABLES, pte::P | pte::RW | pte::US | pte::PS, 4);
    g.control().intercept_exceptions = 1u << 14;
    g.save().cr4 = x86::cr4::PSE;
    EXPECT_EQ(exit_code_name(g.only().exit_code), "VMEXIT_VMMCALL");
    g.save().cr4 = 0; // the entry now names a page table at 0, whose entry for CODE is zero
    EXPECT_EQ(exit_code_name(g.only().exit_code), "VMEXIT_EXCP14");
}

TEST(PaePaging, ReservedPdpeBitsMakeVmrunFail) {
    GuestBuilder g;
    g.code({}).protected32();
    g.save().cr0 |= x86::cr0::PG;
    g.save().cr4 = x86::cr4::PAE;
    g.save().cr3 = g.TABLES;
    g.put(g.TABLES, (g.TABLES + 0x2000) | pte::P);
    EXPECT_EQ(exit_code_name(g.only().exit_code), "VMEXIT_VMMCALL");
    g.put(g.TABLES + 24, 0x5000 | pte::P | pte::RW);
    EXPECT_EQ(g.only().kind, OutcomeKind::INVALID);
}
// §15.25.10: with nested paging the PDPEs are read on demand.
TEST(PaePaging, WithNestedPagingAnUnusedPdpeDoesNotMatter) {
    GuestBuilder g;
    g.code({}).protected32().nested_paging();
    g.save().cr0 |= x86::cr0::PG;
    g.save().cr4 = x86::cr4::PAE;
    g.save().cr3 = g.TABLES;
    g.put(g.TABLES, (g.TABLES + 0x2000) | pte::P);
    g.put(g.TABLES + 24, 0x5000 | pte::P | pte::RW);
    EXPECT_EQ(exit_code_name(g.only().exit_code), "VMEXIT_VMMCALL");
}

TEST(LegacyDelivery, FromRing3ThroughTheTss) {
    GuestBuilder g;
    g.code({}).protected32().cpl3();
    g.put(g.GDT + 0x08, 0x00cf9b000000ffffull);
    g.put(g.IDT + 8 * 0x40,
          (g.HANDLERS & 0xffff) | 8ull << 16 | 0x8eull << 40 | (g.HANDLERS >> 16 & 0xffff) << 48);
    g.put(g.TSS + 4, g.STACK - 0x1000, 4);
    g.put(g.TSS + 8, 0x10, 2);
    g.control().event_inj = horos::svm::make_event(horos::svm::EventType::INTR, 0x40);
    const Outcome out = g.only();
    ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_VMMCALL") << out.why;
    EXPECT_EQ(saved(out, HOROS_SAVE(cpl), 1), 0u);
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), g.STACK - 0x1000 - 20);
    EXPECT_EQ(saved(out, HOROS_SAVE(ss), 2), 0x10u);
}

TEST(TaskSwitch, FarJumpToATssExits) {
    GuestBuilder g;
    g.code({0xea, 0, 0, 0, 0, 0x28, 0}).protected32(); // jmp 0x28:0
    g.put(g.GDT + 0x28, 0x0000890000000067ull | g.TSS << 16);
    g.intercept(horos::svm::Misc1::TASK_SWITCH);
    const Outcome out = g.only();
    ASSERT_EQ(exit_code_name(out.exit_code), "VMEXIT_TASK_SWITCH") << out.why;
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1), 2), 0x28u);
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), horos::svm::task_switch::FAR_JUMP);
    // The TSS is checked before the intercept.
    g.put(g.GDT + 0x28, 0x0000090000000067ull | g.TSS << 16); // not present
    g.control().intercept_exceptions = 1u << 11;
    const Outcome refused = g.only();
    EXPECT_EQ(exit_code_name(refused.exit_code), "VMEXIT_EXCP11");
    EXPECT_EQ(saved(refused, HOROS_CONTROL(exit_info_1)), 0x28u);
}

TEST(MemoryTypes, CombineAsTheTablesSay) {
    using E = EffectiveType;
    using M = x86::MemoryType;
    EXPECT_EQ(combine_pat(M::WB, M::WB), E::WB);
    EXPECT_EQ(combine_pat(M::WC, M::WB), E::WC_PLUS);
    EXPECT_EQ(combine_pat(M::UC_MINUS, M::WC), E::WC);
    EXPECT_EQ(combine_pat(M::WP, M::WT), E::UC);
    EXPECT_EQ(combine_mtrr(E::WC_PLUS, M::WB), E::WC_PLUS);
    EXPECT_EQ(combine_mtrr(E::WC_PLUS, M::UC), E::WC);
    EXPECT_EQ(combine_mtrr(E::UC, M::WB), E::CD);
    EXPECT_EQ(combine_mtrr(E::WB, M::WT), E::WT);
    EXPECT_EQ(guest_memory_type(M::WB, M::WB, M::WB, true, false), E::CD);
    EXPECT_EQ(guest_memory_type(M::WB, M::WB, M::WB, false, false), E::WB);
    EXPECT_EQ(pat_index(x86::pte::PCD | x86::pte::PAT_4K, false), 6u);
    EXPECT_EQ(pat_index(x86::pte::PS | x86::pte::PWT, true), 1u);
    EXPECT_EQ(pat_type(x86::PAT_RESET, 1), M::WT);
    EXPECT_THROW(pat_type(2, 0), std::invalid_argument);
    // UC from either side never yields a cacheable type.
    for (const M other : {M::UC, M::UC_MINUS, M::WC, M::WP, M::WT, M::WB}) {
        EXPECT_EQ(combine_pat(M::UC, other), E::UC);
        EXPECT_NE(combine_pat(other, M::UC), E::WB);
    }
}

} // namespace
} // namespace horos::model::svm::test
