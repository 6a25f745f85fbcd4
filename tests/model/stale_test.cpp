// What the processor may have kept from before: VMCB fields behind clean bits (§15.15),
// translations in the TLB (§15.16). The prediction is the set of all that it may use.
#include "guest_builder.hpp"
#include "horos/model/svm/fields.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>

namespace horos::model::svm::test {
namespace {

constexpr uint32_t CLEAN_I = 1u << 0, CLEAN_CRX = 1u << 5, CLEAN_CR2 = 1u << 9;

// A guest of which the processor has another copy.
struct Cached : GuestBuilder {
    Profile part = builtin_profile("qemu-7.2-max");
    std::unique_ptr<Vmcb> copy;
    Cached() {
        part.svm_features |= x86::cpuid::SVM_EDX_VMCB_CLEAN;
        machine.profile = &part;
    }
    void keep() {
        copy = std::make_unique<Vmcb>(vmcb());
        machine.vmcb_cache_is_fresh = false;
        machine.vmcb_cached = copy.get();
    }
};

std::set<uint64_t> values(const Prediction& p, size_t offset) {
    std::set<uint64_t> all;
    for (const Outcome& outcome : p.allowed) {
        all.insert(saved(outcome, offset));
    }
    return all;
}

std::set<ExitCode> exits(const Prediction& p) {
    std::set<ExitCode> all;
    for (const Outcome& outcome : p.allowed) {
        all.insert(outcome.exit_code);
    }
    return all;
}

TEST(CleanBits, AnEqualCopyChangesNothing) {
    Cached g;
    g.code({});
    g.control().clean_bits = ~0u >> 19;
    g.keep();
    const Prediction p = predict(g.machine);
    ASSERT_EQ(p.allowed.size(), 1u);
    EXPECT_EQ(p.allowed[0].exit_code, ExitCode::VMMCALL);
}

TEST(CleanBits, AChangedFieldBehindItsBitIsOldOrNew) {
    Cached g;
    g.code({0x0f, 0x20, 0xd0}); // mov rax, cr2
    g.save().cr2 = 0x1000;
    g.keep();
    g.save().cr2 = 0x2000;
    g.control().clean_bits = CLEAN_CR2;
    const Prediction p = predict(g.machine);
    EXPECT_EQ(values(p, HOROS_SAVE(rax)), (std::set<uint64_t>{0x1000, 0x2000}));
    EXPECT_EQ(p.allowed.size(), 2u);
    for (const Outcome& outcome : p.allowed) {
        EXPECT_EQ(saved(outcome, HOROS_SAVE(cr2)), saved(outcome, HOROS_SAVE(rax)));
        EXPECT_EQ(saved(outcome, HOROS_CONTROL(clean_bits), 4), CLEAN_CR2);
    }
}

TEST(CleanBits, WithoutItsBitOrTheFeatureOnlyMemoryCounts) {
    Cached g;
    g.code({0x0f, 0x20, 0xd0});
    g.keep();
    g.save().cr2 = 0x2000;
    g.control().clean_bits = ~CLEAN_CR2;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), (std::set<uint64_t>{0x2000}));
    g.control().clean_bits = CLEAN_CR2;
    g.part.svm_features &= ~x86::cpuid::SVM_EDX_VMCB_CLEAN;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), (std::set<uint64_t>{0x2000}));
}

// An intercept that memory no longer asks for may still exit; memory keeps what software wrote.
TEST(CleanBits, ControlsStayInMemoryAsTheyWereWritten) {
    Cached g;
    g.code({0x0f, 0xa2}); // cpuid
    g.intercept(horos::svm::Misc1::CPUID);
    g.keep();
    const uint32_t now = g.control().intercept_misc1 &= ~bit(horos::svm::Misc1::CPUID);
    g.control().clean_bits = CLEAN_I;
    const Prediction p = predict(g.machine);
    EXPECT_EQ(exits(p), (std::set<ExitCode>{ExitCode::CPUID, ExitCode::VMMCALL}));
    for (const Outcome& outcome : p.allowed) {
        EXPECT_EQ(saved(outcome, HOROS_CONTROL(intercept_misc1), 4), now);
    }
}

// What the manual's table of the VMCB clean field says (APM vol. 2 rev. 3.42 §15.15.3, "VMCB Clean
// Bits"), by offset in the VMCB (appendix B): bit, first byte, how many bytes.
struct Covered {
    unsigned bit, offset, bytes;
};
constexpr Covered MANUAL[] = {
    {0, 0x000, 4},  {0, 0x004, 4},  {0, 0x008, 4},  {0, 0x00c, 4},  // CR, DR, exceptions, misc 1
    {0, 0x010, 4},  {0, 0x014, 4},  {0, 0x03c, 2},  {0, 0x03e, 2},  // misc 2 and 3, PAUSE filter
    {0, 0x050, 8},                                                  // TSC offset
    {1, 0x040, 8},  {1, 0x048, 8},                                  // IOPM, MSRPM
    {2, 0x058, 4},                                                  // ASID
    {3, 0x060, 4},  {3, 0x064, 1},                                  // V_TPR and so on, its vector
    {4, 0x0b0, 8},  {4, 0x668, 8},                                  // nested CR3, G_PAT
    {5, 0x558, 8},  {5, 0x550, 8},  {5, 0x548, 8},  {5, 0x4d0, 8},  // CR0, CR3, CR4, EFER
    {6, 0x568, 8},  {6, 0x560, 8},                                  // DR6, DR7
    {7, 0x464, 4},  {7, 0x468, 8},  {7, 0x484, 4},  {7, 0x488, 8},  // GDTR, IDTR
    {8, 0x400, 2},  {8, 0x402, 2},  {8, 0x404, 4},  {8, 0x408, 8},  // ES
    {8, 0x410, 2},  {8, 0x412, 2},  {8, 0x414, 4},  {8, 0x418, 8},  // CS
    {8, 0x420, 2},  {8, 0x422, 2},  {8, 0x424, 4},  {8, 0x428, 8},  // SS
    {8, 0x430, 2},  {8, 0x432, 2},  {8, 0x434, 4},  {8, 0x438, 8},  // DS
    {8, 0x4cb, 1},                                                  // CPL
    {9, 0x640, 8},                                                  // CR2
    {10, 0x670, 8}, {10, 0x678, 8}, {10, 0x680, 8}, {10, 0x688, 8}, // DBGCTL, BR_*, LASTEXCP_*
    {10, 0x690, 8},                                                 //
    {11, 0x098, 8}, {11, 0x0e0, 8}, {11, 0x0f0, 8}, {11, 0x0f8, 8}, // AVIC's addresses
    {12, 0x5e0, 8}, {12, 0x5e8, 8}, {12, 0x5f0, 8},                 // S_CET, SSP, ISST_ADDR
};

// Four other groups differ already, so one more is one too many: that shows whether a field counts
// for a bit, whatever the guest makes of it.
TEST(CleanBits, EachBitCoversTheFieldsOfTheManualsTableAndNoOther) {
    struct Sentinel {
        unsigned bit, offset;
    };
    constexpr Sentinel SENTINELS[] = {{9, 0x640}, {1, 0x048}, {6, 0x560}, {12, 0x5e8}, {2, 0x058}};
    Cached g;
    g.code({});
    g.intercept(horos::svm::Misc1::HLT);
    g.keep();
    const auto bytes = reinterpret_cast<uint8_t*>(&g.vmcb());
    const auto flip = [&](unsigned offset) { bytes[offset] ^= 1; };
    const auto counts = [&] {
        const Prediction p = predict(g.machine);
        return std::any_of(p.allowed.begin(), p.allowed.end(), [](const Outcome& outcome) {
            return outcome.why.starts_with("more clean groups differ");
        });
    };
    for (unsigned group = 0; group < 13; ++group) {
        uint32_t set = 1u << group;
        std::set<unsigned> others;
        for (const Sentinel& sentinel : SENTINELS) {
            if (sentinel.bit != group && others.size() < 4) {
                others.insert(sentinel.offset);
                set |= 1u << sentinel.bit;
            }
        }
        for (const FieldInfo& field : vmcb_fields()) {
            if (field.name == "control.clean_bits") {
                continue;
            }
            std::set<unsigned> found, expected;
            for (const Covered& covered : MANUAL) {
                if (covered.bit == group && covered.offset == field.offset) {
                    EXPECT_EQ(covered.bytes, field.bytes) << field.name;
                    expected.insert(field.offset);
                }
            }
            g.vmcb() = *g.copy;
            g.control().clean_bits = set;
            std::for_each(others.begin(), others.end(), flip);
            const unsigned last = field.offset + field.bytes - 1u; // all its bytes belong to it
            if (!others.contains(field.offset)) {
                flip(last);
            }
            if (counts()) {
                found.insert(field.offset);
            }
            EXPECT_EQ(found, expected) << "bit " << group << ", " << field.name;
        }
    }
    for (const Covered& covered : MANUAL) {
        EXPECT_EQ(field_at(static_cast<uint16_t>(covered.offset)).offset, covered.offset);
    }
}

// The consistency checks see what is loaded; each group comes from one side for itself.
TEST(CleanBits, GroupsAreTakenEachForItself) {
    Cached g;
    g.code({0x0f, 0x20, 0xd0});
    g.save().cr2 = 0x1000;
    g.keep();
    g.save().cr2 = 0x2000;
    g.save().cr0 |= x86::cr0::NW; // without CD: illegal
    g.control().clean_bits = CLEAN_CRX | CLEAN_CR2;
    const Prediction p = predict(g.machine);
    std::set<uint64_t> entered;
    bool invalid = false;
    for (const Outcome& outcome : p.allowed) {
        if (outcome.kind == OutcomeKind::EXIT) {
            entered.insert(saved(outcome, HOROS_SAVE(rax)));
        }
        invalid |= outcome.kind == OutcomeKind::INVALID;
    }
    EXPECT_TRUE(invalid);
    EXPECT_EQ(entered, (std::set<uint64_t>{0x1000, 0x2000}));
}

TEST(CleanBits, AnUnknownCopyLeavesItOpen) {
    Cached g;
    g.code({});
    g.machine.vmcb_cache_is_fresh = false;
    EXPECT_FALSE(predict(g.machine).unspecified()) << "no clean bit: nothing is kept";
    g.control().clean_bits = 1;
    EXPECT_TRUE(predict(g.machine).unspecified());
    g.part.svm_features &= ~x86::cpuid::SVM_EDX_VMCB_CLEAN;
    EXPECT_FALSE(predict(g.machine).unspecified()) << "a part without the feature keeps nothing";
}

// ---- TLB ----

// A guest that reads DATA, for which the TLB may hold another page.
struct Translated : GuestBuilder {
    static constexpr uint64_t OTHER = 0x60000;
    std::vector<TlbEntry> held = {{.asid = 1, .linear = DATA, .address = OTHER}};
    Translated() {
        put(DATA, 0x1111);
        put(OTHER, 0x2222);
        machine.guest.gpr[static_cast<size_t>(Gpr::RSI)] = DATA;
        machine.tlb_is_fresh = false;
        machine.tlb = &held;
    }
    void reads() { code({0x48, 0x8b, 0x06}); } // mov rax, [rsi]
};
const std::set<uint64_t> NEW = {0x1111}, EITHER = {0x1111, 0x2222};

TEST(StaleTlb, AnAccessUsesTheOldTranslationOrTheTables) {
    Translated g;
    g.reads();
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), EITHER);
    g.nested_paging();
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), EITHER);
}

TEST(StaleTlb, AnotherAsidOrAFlushLeavesTheTablesOnly) {
    Translated g;
    g.reads();
    g.control().guest_asid = 2;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
    g.control().guest_asid = 1;
    g.control().tlb_control = 1;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
}

TEST(StaleTlb, AFlushOfThisGuestWantsTheFeatureAndMaySpareGlobalPages) {
    Translated g;
    g.reads();
    Profile part = *g.machine.profile;
    part.svm_features |= x86::cpuid::SVM_EDX_FLUSH_BY_ASID;
    g.machine.profile = &part;
    g.control().tlb_control = 3;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
    g.control().tlb_control = 7;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
    g.held[0].global = true;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), EITHER);
}

// After the tables were used once the old translation is gone: old, old; old, new; new, new.
TEST(StaleTlb, AnEvictedTranslationDoesNotComeBack) {
    Translated g;
    g.code({0x48, 0x8b, 0x06, 0x48, 0x8b, 0x0e}); // mov rax, [rsi]; mov rcx, [rsi]
    const Prediction p = predict(g.machine);
    std::set<std::pair<uint64_t, uint64_t>> seen;
    for (const Outcome& outcome : p.allowed) {
        seen.insert(
            {saved(outcome, HOROS_SAVE(rax)), outcome.gpr[static_cast<size_t>(Gpr::RCX)].value});
    }
    EXPECT_EQ(seen, (std::set<std::pair<uint64_t, uint64_t>>{
                        {0x1111, 0x1111}, {0x2222, 0x1111}, {0x2222, 0x2222}}));
}

TEST(StaleTlb, TheGuestsOwnInvalidationEndsIt) {
    Translated g;
    g.code({0x0f, 0x01, 0x3e, 0x48, 0x8b, 0x06}); // invlpg [rsi]; mov rax, [rsi]
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
    g.code({0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x48, 0x8b, 0x06}); // cr3 written back
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
    g.held[0].global = true;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW) << "CR4.PGE is clear";
    g.save().cr4 |= x86::cr4::PGE;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), EITHER);
}

TEST(StaleTlb, AWriteGoesToEitherPageAndWalksForTheDirtyBit) {
    Translated g;
    g.code({0x48, 0x89, 0x0e}); // mov [rsi], rcx
    const auto pages = [&] {
        std::set<uint64_t> written;
        for (const Outcome& outcome : predict(g.machine).allowed) {
            for (const MemoryWrite& write : outcome.writes) {
                if (write.address >= g.DATA) {
                    written.insert(write.address & ~0xfffull);
                }
            }
        }
        return written;
    };
    EXPECT_EQ(pages(), (std::set<uint64_t>{g.DATA, g.OTHER}));
    g.held[0].dirty = false;
    EXPECT_EQ(pages(), (std::set<uint64_t>{g.DATA}));
    g.held[0].writable = false;
    EXPECT_TRUE(predict(g.machine).unspecified()) << "whether that faults is not said";
}

TEST(StaleTlb, CodeHasATlbOfItsOwn) {
    Translated g;
    g.held = {{.asid = 1, .linear = g.CODE, .address = g.OTHER}};
    g.code({0x48, 0x8b, 0x06});
    // old code: xor eax, eax; vmmcall
    const uint8_t old[] = {0x31, 0xc0, 0x0f, 0x01, 0xd9};
    std::memcpy(&g.ram[g.OTHER], old, sizeof old);
    const auto found = values(predict(g.machine), HOROS_SAVE(rax));
    EXPECT_TRUE(found.contains(0x1111) && found.contains(0)) << found.size();
}

// The list of what a TLB may hold says what the tables said.
TEST(StaleTlb, TheTranslationsOfTheTables) {
    Translated g;
    g.nested_paging();
    g.put(g.NESTED + 0x3000 + 8 * (g.DATA >> 12), g.OTHER | x86::pte::P | x86::pte::US);
    g.put(g.NESTED + 0x3000 + 8 * (g.OTHER >> 12), 0);
    g.control().guest_asid = 7;
    const uint64_t pages[] = {g.CODE, g.DATA, g.OTHER};
    const auto entries = translations(g.machine, pages);
    ASSERT_EQ(entries.size(), 2u) << "the page that is not mapped has none";
    EXPECT_EQ(entries[0].linear, g.CODE);
    EXPECT_EQ(entries[0].address, g.CODE);
    EXPECT_TRUE(entries[0].writable);
    EXPECT_FALSE(entries[0].dirty) << "the dirty bit of the nested entry would have to be set";
    EXPECT_EQ(entries[1].linear, g.DATA);
    EXPECT_EQ(entries[1].address, g.OTHER);
    EXPECT_FALSE(entries[1].writable) << "as the nested tables say";
    EXPECT_TRUE(entries[1].user && entries[1].executable);
    EXPECT_EQ(entries[1].asid, 7u);
}

TEST(StaleTlb, AnUnknownTlbLeavesItOpenUnlessFlushed) {
    Translated g;
    g.reads();
    g.machine.tlb = nullptr;
    EXPECT_TRUE(predict(g.machine).unspecified());
    g.control().tlb_control = 1;
    EXPECT_EQ(values(predict(g.machine), HOROS_SAVE(rax)), NEW);
}

} // namespace
} // namespace horos::model::svm::test
