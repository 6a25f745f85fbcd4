// Instructions that are not intercepted: INS and OUTS, loads of segment registers, LLDT and LTR,
// near branches out of the canonical range.
#include "guest_builder.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace horos::model::svm::test {
namespace {

ExitCode exception(x86::Vector v) { return exit_code(ExitCode::EXCEPTION_0, unsigned(v)); }

struct Loads : GuestBuilder {
    Loads() { control().intercept_exceptions = ~0u; }
    uint64_t& reg(Gpr g) { return machine.guest.gpr[static_cast<size_t>(g)]; }
    Loads& runs(std::initializer_list<uint8_t> bytes) {
        code(bytes);
        return *this;
    }
    void descriptor(uint16_t selector, uint64_t low) { put(GDT + (selector & 0xfff8), low); }
};

uint64_t gpr(const Outcome& out, Gpr g) { return out.gpr[static_cast<size_t>(g)].value; }
uint64_t rip(const Outcome& out) { return saved(out, HOROS_SAVE(rip)); }

bool writes(const Outcome& out, uint64_t address, int value = -1) {
    return std::any_of(out.writes.begin(), out.writes.end(), [&](const MemoryWrite& w) {
        return w.address == address && (value < 0 ? w.known == 0 : w.value == value);
    });
}

void expect_fault(Loads& g, x86::Vector vector, uint64_t error) {
    const Outcome out = g.only();
    ASSERT_EQ(out.kind, OutcomeKind::EXIT) << out.why;
    EXPECT_EQ(out.exit_code, exception(vector));
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_1)), error);
    EXPECT_EQ(rip(out), g.CODE) << "at the instruction";
}

// ---- INS and OUTS ----

TEST(StringIo, StepsThroughMemory) {
    Loads g;
    g.runs({0x6f}); // outsd
    g.reg(Gpr::RSI) = g.DATA;
    Outcome out = g.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RSI), g.DATA + 4);
    g.runs({0xfd, 0x66, 0x6d}); // std; insw
    g.reg(Gpr::RDI) = g.DATA + 8;
    out = g.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RDI), g.DATA + 6);
    EXPECT_TRUE(writes(out, g.DATA + 8) && writes(out, g.DATA + 9)) << "of a value from the port";
    EXPECT_FALSE(writes(out, g.DATA + 10));
}

TEST(StringIo, RepCountsDown) {
    Loads g;
    g.runs({0xf3, 0x6e}); // rep outsb
    g.reg(Gpr::RSI) = g.DATA;
    g.reg(Gpr::RCX) = 3;
    Outcome out = g.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RSI), g.DATA + 3);
    EXPECT_EQ(gpr(out, Gpr::RCX), 0u);
    g.reg(Gpr::RCX) = 0;
    g.reg(Gpr::RSI) = 1ull << 63; // not even looked at
    out = g.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RSI), 1ull << 63);
    g.reg(Gpr::RCX) = 1000;
    g.reg(Gpr::RSI) = g.DATA;
    EXPECT_TRUE(predict(g.machine).unspecified());
}

TEST(StringIo, AFaultLeavesTheStepsBeforeIt) {
    Loads g;
    g.runs({0xf3, 0x6e});
    g.reg(Gpr::RSI) = 0x1ffffe; // the last two bytes that are mapped
    g.reg(Gpr::RCX) = 5;
    const Outcome out = g.only();
    EXPECT_EQ(out.exit_code, exception(x86::Vector::PF)) << out.why;
    EXPECT_EQ(saved(out, HOROS_CONTROL(exit_info_2)), 0x200000u);
    EXPECT_EQ(rip(out), g.CODE);
    EXPECT_EQ(gpr(out, Gpr::RSI), 0x200000u);
    EXPECT_EQ(gpr(out, Gpr::RCX), 3u);
}

TEST(StringIo, ASingleStepIsOneStep) {
    Loads g;
    g.runs({0xf3, 0x6e});
    g.reg(Gpr::RSI) = g.DATA;
    g.save().rflags |= x86::rflags::TF;
    for (const uint64_t count : {3, 1}) {
        g.reg(Gpr::RCX) = count;
        const Outcome out = g.only();
        EXPECT_EQ(out.exit_code, exception(x86::Vector::DB)) << out.why;
        EXPECT_EQ(gpr(out, Gpr::RCX), count - 1);
        EXPECT_EQ(gpr(out, Gpr::RSI), g.DATA + 1);
        EXPECT_EQ(rip(out), count == 1 ? g.CODE + 2 : g.CODE);
    }
}

TEST(StringIo, RegistersHaveTheWidthOfTheAddresses) {
    Loads g;
    g.runs({0x67, 0xf3, 0x6e}); // with ESI and ECX
    g.reg(Gpr::RSI) = 0xabcd00000000ull | g.DATA;
    g.reg(Gpr::RCX) = 0x100000002ull;
    Outcome out = g.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RSI), g.DATA + 2) << "the upper half is cleared";
    EXPECT_EQ(gpr(out, Gpr::RCX), 0u);
    Loads r;
    r.real_mode();
    r.runs({0x6e}); // with SI
    r.reg(Gpr::RSI) = 0x1234ffff;
    out = r.only();
    EXPECT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(gpr(out, Gpr::RSI), 0x12340000u);
}

// ---- segment registers ----

TEST(SegmentLoads, TakeTheDescriptorAndMarkIt) {
    Loads g;
    g.protected32();
    g.descriptor(0x20, 0x40c0f2123456ffffull); // DPL 3, writable, not accessed
    g.runs({0x8e, 0xd8});                      // mov ds, ax
    g.save().rax = 0x23;
    const Outcome out = g.only();
    ASSERT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(saved(out, HOROS_SAVE(ds), 2), 0x23u);
    EXPECT_EQ(saved(out, HOROS_SAVE(ds) + 8), 0x40123456u);
    EXPECT_EQ(saved(out, HOROS_SAVE(ds) + 4, 4), 0x0fffffffu);
    EXPECT_TRUE(writes(out, g.GDT + 0x25, 0xf3)) << "accessed";
}

TEST(SegmentLoads, PopLoadsAndMovesTheStack) {
    Loads g;
    g.runs({0x0f, 0xa1}); // pop fs
    g.put(g.STACK, 0x10);
    const Outcome out = g.only();
    ASSERT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(saved(out, HOROS_SAVE(rsp)), g.STACK + 8);
    EXPECT_EQ(out.fs.selector, 0x10);
}

TEST(SegmentLoads, DataSegmentsAreChecked) {
    Loads g;
    g.runs({0x8e, 0xd8});
    g.save().rax = 0x30;
    expect_fault(g, x86::Vector::GP, 0x30); // beyond the table
    g.save().rax = 0x14;
    expect_fault(g, x86::Vector::GP, 0x14); // no LDT
    g.save().rax = 0x10;
    g.descriptor(0x10, 0x00cf13000000ffffull);
    expect_fault(g, x86::Vector::NP, 0x10);
    g.descriptor(0x10, 0x00cf83000000ffffull); // a system descriptor
    expect_fault(g, x86::Vector::GP, 0x10);
    g.descriptor(0x10, 0x00cf99000000ffffull); // code that cannot be read
    expect_fault(g, x86::Vector::GP, 0x10);
    g.descriptor(0x10, 0x00cf93000000ffffull);
    g.save().rax = 0x11; // RPL 1 above DPL 0
    expect_fault(g, x86::Vector::GP, 0x10);
    g.descriptor(0x10, 0x00cf9f000000ffffull); // conforming code: for all levels
    EXPECT_EQ(g.only().exit_code, ExitCode::VMMCALL);
    g.save().rax = 3; // null
    EXPECT_EQ(g.only().exit_code, ExitCode::VMMCALL);
}

TEST(SegmentLoads, StackSegmentsAreCheckedAndShadow) {
    Loads g;
    g.runs({0x8e, 0xd0}); // mov ss, ax
    g.save().rax = 0x10;
    EXPECT_EQ(g.only().exit_code, ExitCode::VMMCALL);
    EXPECT_EQ(saved(g.only(), HOROS_CONTROL(int_state)) & 1, 1u) << "events wait one instruction";
    g.save().rax = 0x13; // RPL
    expect_fault(g, x86::Vector::GP, 0x10);
    g.save().rax = 0x20; // DPL 3
    g.descriptor(0x20, 0x00cff3000000ffffull);
    expect_fault(g, x86::Vector::GP, 0x20);
    g.save().rax = 0x10;
    g.descriptor(0x10, 0x00cf91000000ffffull); // read-only
    expect_fault(g, x86::Vector::GP, 0x10);
    g.descriptor(0x10, 0x00cf13000000ffffull);
    expect_fault(g, x86::Vector::SS, 0x10);
    g.save().rax = 3; // null, of another level
    expect_fault(g, x86::Vector::GP, 0);
    g.save().rax = 0;
    EXPECT_EQ(g.only().exit_code, ExitCode::VMMCALL) << "null is a stack of 64-bit mode";
    Loads user;
    user.cpl3();
    user.runs({0x8e, 0xd0});
    user.save().rax = 3;
    expect_fault(user, x86::Vector::GP, 0); // but of no user
}

TEST(SegmentLoads, RealModeShiftsTheSelector) {
    Loads g;
    g.real_mode();
    g.runs({0x8e, 0xc0}); // mov es, ax
    g.save().rax = 0x1234;
    const Outcome out = g.only();
    ASSERT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(saved(out, HOROS_SAVE(es) + 8), 0x12340u);
}

// ---- LLDT and LTR ----

struct SystemLoads : Loads {
    SystemLoads() {
        save().gdtr.limit = 0x3f;
        save().rax = 0x30;
        tss(9);
    }
    void tss(unsigned type, uint64_t high = 0xffff8000) {
        put(GDT + 0x30, 0x0000800000140067ull | uint64_t{type} << 40 | 0x00ull);
        put(GDT + 0x38, high);
    }
    SystemLoads& ltr() {
        runs({0x0f, 0x00, 0xd8});
        return *this;
    }
    SystemLoads& lldt() {
        runs({0x0f, 0x00, 0xd0});
        return *this;
    }
};

TEST(SystemSegments, LtrMarksTheTssBusy) {
    SystemLoads g;
    g.ltr();
    const Outcome out = g.only();
    ASSERT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(out.tr.selector, 0x30);
    EXPECT_EQ(out.tr.base, 0xffff800000000014ull);
    EXPECT_EQ(out.tr.limit, 0x67u);
    EXPECT_EQ(out.tr.attributes & 0xff, 0x8b);
    EXPECT_TRUE(writes(out, g.GDT + 0x35, 0x8b));
}

TEST(SystemSegments, LldtTakesItsType) {
    SystemLoads g;
    g.tss(2);
    g.lldt();
    const Outcome out = g.only();
    ASSERT_EQ(out.exit_code, ExitCode::VMMCALL) << out.why;
    EXPECT_EQ(out.ldtr.selector, 0x30);
    EXPECT_EQ(out.ldtr.base, 0xffff800000000014ull);
    EXPECT_TRUE(std::none_of(out.writes.begin(), out.writes.end(), [&](const MemoryWrite& w) {
        return w.address >= g.GDT && w.address < g.GDT + 0x40;
    }));
}

TEST(SystemSegments, AreChecked) {
    SystemLoads g;
    g.ltr();
    g.tss(11); // busy
    expect_fault(g, x86::Vector::GP, 0x30);
    g.tss(1); // 16-bit, in long mode
    expect_fault(g, x86::Vector::GP, 0x30);
    g.tss(9, 1ull << 40); // the upper half has a type
    expect_fault(g, x86::Vector::GP, 0x30);
    g.tss(9, 0x8000); // a base that is not canonical
    expect_fault(g, x86::Vector::GP, 0x30);
    g.tss(9);
    g.save().gdtr.limit = 0x3e; // not all of the 16 bytes
    expect_fault(g, x86::Vector::GP, 0x30);
    g.save().gdtr.limit = 0x3f;
    g.save().rax = 0x34; // in the LDT, where there is one
    g.machine.guest.ldtr = {0x18, 0x82, 0x3f, g.GDT};
    expect_fault(g, x86::Vector::GP, 0x34);
    g.save().rax = 0x30;
    g.put(g.GDT + 0x35, 0x09, 1); // not present
    expect_fault(g, x86::Vector::NP, 0x30);
    g.tss(9);
    g.lldt(); // a TSS is no LDT
    expect_fault(g, x86::Vector::GP, 0x30);
}

// ---- near branches ----

TEST(NearBranches, OutOfTheCanonicalRange) {
    Loads g;
    g.runs({0xff, 0xe0}); // jmp rax
    g.save().rax = 1ull << 57;
    expect_fault(g, x86::Vector::GP, 0);
    g.machine.deviations.set(Deviation::IRET_RIP_UNCHECKED);
    const Outcome out = g.only();
    EXPECT_EQ(out.exit_code, exception(x86::Vector::GP));
    EXPECT_EQ(rip(out) & saved_known(out, HOROS_SAVE(rip)),
              (1ull << 57) & saved_known(out, HOROS_SAVE(rip)));
    EXPECT_NE(rip(out), g.CODE);
}

} // namespace
} // namespace horos::model::svm::test
