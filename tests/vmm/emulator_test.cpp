// Decoding and emulation against the real processor: each instruction form runs natively on a
// buffer and emulated on a device that is a copy of it; registers, flags and memory must agree.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <sys/mman.h>

#include <random>

#include "emul/alu.hpp"
#include "emul/fetch.hpp"
#include "emulation.hpp"

namespace horos::vmm {
namespace {

using abi::Gpr;

struct Registers {
    u64 gpr[16];
    u64 flags;
};

// Functions that run an instruction with all registers loaded but RSP and R15, which points to the
// registers. All are written before the first one runs: a page that is written and executed in
// turns is slow on virtual machines.
class Native {
public:
    using Entry = void (*)(Registers*);

    explicit Native(u32 functions) : bytes_((functions * function_bytes + 4095) & ~4095u) {
        code_ = static_cast<u8*>(
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    ~Native() { munmap(code_, bytes_); }

    Entry add(const std::vector<u8>& instruction) {
        u8* const begin = code_ + function_bytes * count_++;
        u8* at = begin;
        const auto emit = [&](std::initializer_list<u8> list) {
            for (const u8 byte : list)
                *at++ = byte;
        };
        emit({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57}); // push callee-saved
        emit({0x49, 0x89, 0xff});                                           // mov r15, rdi
        emit({0x41, 0xff, 0xb7, 0x80, 0, 0, 0, 0x9d});                      // push [r15+128]; popfq
        for (u8 reg = 0; reg < 15; ++reg)
            if (reg != 4) // mov reg, [r15 + 8 * reg]
                emit({static_cast<u8>(reg < 8 ? 0x49 : 0x4d), 0x8b,
                      static_cast<u8>(0x47 | (reg & 7) << 3), static_cast<u8>(reg * 8)});
        for (const u8 byte : instruction)
            *at++ = byte;
        for (u8 reg = 0; reg < 15; ++reg)
            if (reg != 4)
                emit({static_cast<u8>(reg < 8 ? 0x49 : 0x4d), 0x89,
                      static_cast<u8>(0x47 | (reg & 7) << 3), static_cast<u8>(reg * 8)});
        emit({0x9c, 0x41, 0x8f, 0x87, 0x80, 0, 0, 0, 0xfc}); // pushfq; pop [r15+128]; cld
        emit({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});
        return reinterpret_cast<Entry>(begin);
    }
    void seal() { mprotect(code_, bytes_, PROT_READ | PROT_EXEC); }

    // The sanitizer would look for a type signature before the generated code.
    __attribute__((no_sanitize("function"))) static void run(Entry entry, Registers& registers) {
        entry(&registers);
    }

private:
    static constexpr u32 function_bytes = 256;
    u32 bytes_;
    u32 count_ = 0;
    u8* code_;
};

// Instruction forms: opcode bytes and how the operands are made.
struct Form {
    const char* name;
    std::vector<u8> opcode;
    u8 extension = 0xff; // /digit; 0xff: a register
    u8 immediate = 0;    // bytes of it; 0xff: as the operand size, 4 at most
    bool byte = false;   // the operand is a byte, whatever the prefixes
    u64 undefined_flags = 0;
    bool lockable = false;
};

constexpr u64 af = x86::rflags::AF;
constexpr u64 all_but_cf = alu::status_flags & ~x86::rflags::CF;

const std::vector<Form> forms = {
    {"mov m8,r", {0x88}, 0xff, 0, true},
    {"mov m,r", {0x89}},
    {"mov r8,m", {0x8a}, 0xff, 0, true},
    {"mov r,m", {0x8b}},
    {"mov m8,imm", {0xc6}, 0, 1, true},
    {"mov m,imm", {0xc7}, 0, 0xff},
    {"movzx r,m8", {0x0f, 0xb6}},
    {"movzx r,m16", {0x0f, 0xb7}},
    {"movsx r,m8", {0x0f, 0xbe}},
    {"movsx r,m16", {0x0f, 0xbf}},
    {"movsxd r,m32", {0x63}},
    {"add m8,r", {0x00}, 0xff, 0, true, 0, true},
    {"add m,r", {0x01}, 0xff, 0, false, 0, true},
    {"add r8,m", {0x02}, 0xff, 0, true},
    {"add r,m", {0x03}},
    {"or m,r", {0x09}, 0xff, 0, false, af, true},
    {"or r,m", {0x0b}, 0xff, 0, false, af},
    {"adc m8,r", {0x10}, 0xff, 0, true},
    {"adc m,r", {0x11}, 0xff, 0, false, 0, true},
    {"sbb m,r", {0x19}, 0xff, 0, false, 0, true},
    {"sbb r,m", {0x1b}},
    {"and m,r", {0x21}, 0xff, 0, false, af, true},
    {"sub m,r", {0x29}, 0xff, 0, false, 0, true},
    {"xor m8,r", {0x30}, 0xff, 0, true, af},
    {"xor m,r", {0x31}, 0xff, 0, false, af, true},
    {"cmp m8,r", {0x38}, 0xff, 0, true},
    {"cmp m,r", {0x39}},
    {"cmp r,m", {0x3b}},
    {"add m8,imm8", {0x80}, 0, 1, true},
    {"cmp m8,imm8", {0x80}, 7, 1, true},
    {"or m,imm", {0x81}, 1, 0xff, false, af},
    {"and m,imm", {0x81}, 4, 0xff, false, af},
    {"adc m,imm8", {0x83}, 2, 1},
    {"sub m,imm8", {0x83}, 5, 1},
    {"cmp m,imm8", {0x83}, 7, 1},
    {"test m8,r", {0x84}, 0xff, 0, true, af},
    {"test m,r", {0x85}, 0xff, 0, false, af},
    {"test m8,imm8", {0xf6}, 0, 1, true, af},
    {"test m,imm", {0xf7}, 0, 0xff, false, af},
    {"not m", {0xf7}, 2, 0, false, 0, true},
    {"neg m8", {0xf6}, 3, 0, true},
    {"neg m", {0xf7}, 3},
    {"inc m8", {0xfe}, 0, 0, true},
    {"inc m", {0xff}, 0, 0, false, 0, true},
    {"dec m", {0xff}, 1},
    {"xchg m8,r", {0x86}, 0xff, 0, true},
    {"xchg m,r", {0x87}},
    {"xadd m,r", {0x0f, 0xc1}, 0xff, 0, false, 0, true},
    {"cmpxchg m8,r", {0x0f, 0xb0}, 0xff, 0, true},
    {"cmpxchg m,r", {0x0f, 0xb1}, 0xff, 0, false, 0, true},
    {"bt m,imm8", {0x0f, 0xba}, 4, 1, false, all_but_cf},
    {"bts m,imm8", {0x0f, 0xba}, 5, 1, false, all_but_cf},
    {"btr m,imm8", {0x0f, 0xba}, 6, 1, false, all_but_cf},
    {"btc m,imm8", {0x0f, 0xba}, 7, 1, false, all_but_cf},
    {"bts m,r", {0x0f, 0xab}, 0xff, 0, false, all_but_cf},
    {"bt m,r", {0x0f, 0xa3}, 0xff, 0, false, all_but_cf},
    {"movnti m,r", {0x0f, 0xc3}},
};

struct Built {
    std::vector<u8> bytes;
    u64 undefined_flags;
};

using Random = std::mt19937_64;

template <class... Values>
auto one_of(Random& random, Values... values) {
    const std::common_type_t<Values...> list[] = {values...};
    return list[random() % sizeof...(values)];
}

// An instruction of that form with memory operand [rdi + disp8]; RDI is not its register.
Built build(const Form& form, Random& random) {
    Built built{{}, form.undefined_flags};
    const unsigned size = form.byte ? 1 : one_of(random, 2u, 4u, 8u);
    const bool non_temporal = form.opcode.back() == 0xc3 && form.opcode.size() == 2;
    const bool lock = form.lockable && random() % 2 == 0;
    if (lock)
        built.bytes.push_back(0xf0);
    const bool wide = size == 8;
    const bool narrow = size == 2 && !non_temporal && form.opcode[0] != 0x63;
    if (narrow)
        built.bytes.push_back(0x66);
    // R15, RSP and RDI are taken.
    const u8 reg = form.extension != 0xff
                       ? form.extension
                       : one_of<u8>(random, 0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14);
    const bool extended = form.extension == 0xff && reg >= 8;
    // A byte register 5 or 6 is CH or DH without REX: both readings are wanted.
    const bool rex = wide || extended || random() % 2 == 0;
    if (rex)
        built.bytes.push_back(static_cast<u8>(0x40 | (wide ? 8 : 0) | (extended ? 4 : 0)));
    built.bytes.insert(built.bytes.end(), form.opcode.begin(), form.opcode.end());
    built.bytes.push_back(static_cast<u8>(0x47 | (reg & 7) << 3)); // [rdi + disp8]
    // A locked access that crosses a cache line is slowed down by the host's kernel.
    const bool locked = lock || form.opcode[0] == 0x86 || form.opcode[0] == 0x87;
    built.bytes.push_back(locked ? random() % 4 * 8 : random() % 32);
    const unsigned immediate = form.immediate == 0xff ? (narrow      ? 2
                                                         : form.byte ? 1
                                                                     : 4)
                                                      : form.immediate;
    for (unsigned i = 0; i < immediate; ++i)
        built.bytes.push_back(static_cast<u8>(random()));
    return built;
}

constexpr u32 buffer_bytes = 256, operand_at = 128;

// Operand values that are often at the edges.
u64 interesting(Random& random) {
    return one_of(random, u64{0}, u64{1}, u64{0x7f}, u64{0x80}, u64{0xffff}, u64{0x8000'0000},
                  ~u64{0}, random(), random(), random());
}

void expect_agreement(const Form& form, const Built& built, Native::Entry native, Random& random) {
    // Below 4 GiB, so that it is its own physical address with paging off.
    static u8* const buffer = static_cast<u8*>(mmap(
        nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    Registers registers{};
    // A bit number in a register reaches far: keep it in the buffer.
    const bool far_bits = form.opcode.back() == 0xab || form.opcode.back() == 0xa3;
    for (u64& value : registers.gpr)
        value = far_bits ? random() % 1000 - 500 : interesting(random);
    registers.flags = 2 | (random() & alu::status_flags);
    registers.gpr[7] = reinterpret_cast<u64>(buffer) + operand_at;

    BufferBus bus;
    bus.base = reinterpret_cast<u64>(buffer);
    bus.bytes.resize(buffer_bytes);
    for (u8& byte : bus.bytes)
        byte = static_cast<u8>(random());
    const u64 operand = interesting(random);
    std::memcpy(bus.bytes.data() + operand_at + 8, &operand, 8);
    std::memcpy(buffer, bus.bytes.data(), buffer_bytes);
    // Half of the time CMPXCHG shall find what it expects.
    if (form.opcode.back() == 0xb1 && random() % 2 == 0)
        std::memcpy(&registers.gpr[0], buffer + operand_at + built.bytes.back(), 8);

    abi::VcpuState cpu;
    set_64_bit(cpu);
    std::memcpy(cpu.gpr, registers.gpr, sizeof cpu.gpr);
    cpu.rflags = registers.flags;
    Instruction instruction;
    ASSERT_TRUE(decode(built.bytes.data(), static_cast<unsigned>(built.bytes.size()),
                       CodeSize::bits_64, instruction));
    ASSERT_EQ(instruction.length, built.bytes.size());
    const GuestMemory none;
    RecordingPorts ports;
    Emulator emulator(cpu, none, bus, ports);
    ASSERT_TRUE(emulator
                    .memory_access(instruction,
                                   cpu.gpr[7] + static_cast<u64>(instruction.memory.displacement))
                    .ok());

    Native::run(native, registers);
    const u64 compared = alu::status_flags & ~built.undefined_flags;
    for (u32 i = 0; i < 15; ++i)
        if (i != 4)
            ASSERT_EQ(cpu.gpr[i], registers.gpr[i]) << "register " << i;
    ASSERT_EQ(cpu.rflags & compared, registers.flags & compared);
    ASSERT_EQ(std::memcmp(bus.bytes.data(), buffer, buffer_bytes), 0);
    ASSERT_GT(bus.reads + bus.writes, 0u);
}

TEST(Emulator, AgreesWithTheProcessor) {
    constexpr u32 of_each = 300;
    struct Case {
        const Form* form;
        Built built;
        Native::Entry native;
    };
    const u64 seed = std::random_device{}();
    Random random(seed);
    Native native(static_cast<u32>(forms.size()) * of_each);
    std::vector<Case> cases;
    for (const Form& form : forms)
        for (u32 i = 0; i < of_each; ++i) {
            cases.push_back({&form, build(form, random), nullptr});
            cases.back().native = native.add(cases.back().built.bytes);
        }
    native.seal();
    for (const Case& one : cases) {
        SCOPED_TRACE(std::string(one.form->name) + ", seed " + std::to_string(seed));
        expect_agreement(*one.form, one.built, one.native, random);
        if (testing::Test::HasFatalFailure())
            return;
    }
}

struct EmulatorTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(1 << 16);
    GuestMemory memory{ram.data(), ram.size()};
    abi::VcpuState cpu{};
    BufferBus bus;
    RecordingPorts ports;
    void SetUp() override {
        set_64_bit(cpu);
        bus.base = 0x10'0000;
        bus.bytes.resize(0x2000);
    }
    Outcome run(std::vector<u8> bytes, u64 physical, CodeSize size = CodeSize::bits_64) {
        Instruction instruction;
        EXPECT_TRUE(decode(bytes.data(), static_cast<unsigned>(bytes.size()), size, instruction));
        Emulator emulator(cpu, memory, bus, ports);
        return emulator.memory_access(instruction, physical);
    }
};

TEST_F(EmulatorTest, RipRelative) {
    cpu.rip = 0x10'0000 - 0x10;
    bus.bytes[0x100] = 0x5a;
    // mov al, [rip + 0x10a]: the instruction ends 6 bytes on
    ASSERT_TRUE(run({0x8a, 0x05, 0x0a, 0x01, 0, 0}, 0x10'0100).ok());
    EXPECT_EQ(reg(cpu, Gpr::rax), 0x5au);
}

TEST_F(EmulatorTest, SegmentRegistersAreAskedForAndUsed) {
    // mov eax, gs:[rbx]
    reg(cpu, Gpr::rbx) = 0x20;
    EXPECT_EQ(run({0x65, 0x8b, 0x03}, 0x10'0020).kind, Outcome::Kind::need_segments);
    cpu.wanted = abi::group::segments;
    cpu.gs.base = 0x10'0000;
    bus.bytes[0x20] = 7;
    ASSERT_TRUE(run({0x65, 0x8b, 0x03}, 0x10'0020).ok());
    EXPECT_EQ(reg(cpu, Gpr::rax), 7u);
}

TEST_F(EmulatorTest, ProtectedModeChecksLimitsAndRights) {
    cpu.efer = 0;
    cpu.cs.attributes = 0xc9b;
    cpu.wanted = abi::group::segments;
    cpu.ds = {0x18, 0xc93, 0x10'00ff, 0};
    reg(cpu, Gpr::rbx) = 0x10'00fe;
    const auto over = run({0x89, 0x03}, 0x10'00fe, CodeSize::bits_32); // mov [ebx], eax
    ASSERT_EQ(over.kind, Outcome::Kind::exception);
    EXPECT_EQ(over.exception.vector, 13);
    cpu.ds = {0x18, 0xc91, 0xffff'ffff, 0}; // read-only
    EXPECT_EQ(run({0x89, 0x03}, 0x10'00fe, CodeSize::bits_32).exception.vector, 13);
    EXPECT_TRUE(run({0x8b, 0x03}, 0x10'00fe, CodeSize::bits_32).ok());
}

TEST_F(EmulatorTest, AnAccessAcrossPagesIsWhole) {
    reg(cpu, Gpr::rbx) = 0x10'0ffe;
    reg(cpu, Gpr::rax) = 0x1122'3344;
    ASSERT_TRUE(run({0x89, 0x03}, 0x10'0ffe).ok());
    EXPECT_EQ(bus.bytes[0xffe], 0x44);
    EXPECT_EQ(bus.bytes[0x1001], 0x11);
    reg(cpu, Gpr::rax) = 0;
    ASSERT_TRUE(run({0x8b, 0x03}, 0x10'0ffe).ok());
    EXPECT_EQ(reg(cpu, Gpr::rax), 0x1122'3344u);
}

TEST_F(EmulatorTest, WhatItCannotDoIsSaid) {
    const auto outcome = run({0x0f, 0x10, 0x03}, 0x10'0000); // movups xmm0, [rbx]
    ASSERT_EQ(outcome.kind, Outcome::Kind::unsupported);
    EXPECT_NE(outcome.reason, nullptr);
}

RC_GTEST_PROP(DecodeProperty, AnyBytesDecodeOrAreRefused, ()) {
    const auto bytes = *rc::gen::container<std::vector<u8>>(15, rc::gen::arbitrary<u8>());
    const auto size = *rc::gen::element(CodeSize::bits_16, CodeSize::bits_32, CodeSize::bits_64);
    const unsigned count = *rc::gen::inRange(0u, 16u);
    Instruction instruction;
    if (decode(bytes.data(), count, size, instruction))
        RC_ASSERT(instruction.length >= 1 && instruction.length <= count);
}

TEST(DecodeCache, SeesThatCodeWasRewritten) {
    std::vector<u8> ram(1 << 16);
    const GuestMemory memory(ram.data(), ram.size());
    abi::VcpuState cpu;
    set_64_bit(cpu);
    cpu.rip = 0x1000;
    ram[0x1000] = 0x8b; // mov eax, [rbx]
    ram[0x1001] = 0x03;
    DecodeCache cache;
    Outcome outcome;
    ASSERT_NE(cache.find(cpu, memory, outcome), nullptr);
    ASSERT_NE(cache.find(cpu, memory, outcome), nullptr);
    EXPECT_EQ(cache.misses(), 1u);
    ram[0x1000] = 0x89;
    const Instruction* changed = cache.find(cpu, memory, outcome);
    ASSERT_NE(changed, nullptr);
    EXPECT_EQ(changed->destination.kind, OperandKind::memory);
    EXPECT_EQ(cache.misses(), 2u);
    // The same bytes at the same address in another mode are another instruction.
    cpu.cs.attributes = 0xc9b;
    cpu.efer = 0;
    ASSERT_NE(cache.find(cpu, memory, outcome), nullptr);
    EXPECT_EQ(cache.misses(), 3u);
}

TEST(DecodeCache, SeesThatThePageWasMoved) {
    std::vector<u8> ram(1 << 20);
    const GuestMemory memory(ram.data(), ram.size());
    abi::VcpuState cpu;
    set_64_bit(cpu);
    cpu.cr0 |= x86::cr0::PG;
    cpu.cr3 = 0x1000;
    for (u64 table = 0x1000; table < 0x4000; table += 0x1000)
        memory.store<u64>(table, (table + 0x1000) | 3);
    const auto map = [&](u64 place) { memory.store<u64>(0x4000 + 5 * 8, place | 3); };
    ram[0x8000] = 0x0f; // CPUID
    ram[0x8001] = 0xa2;
    ram[0x9000] = 0x66; // with a prefix
    ram[0x9001] = 0x0f;
    ram[0x9002] = 0xa2;
    cpu.rip = 0x5000;
    DecodeCache cache;
    Outcome outcome;
    map(0x8000);
    EXPECT_EQ(cache.known_bytes(cpu), nullptr) << "nobody has walked there";
    EXPECT_EQ(cache.find(cpu, memory, outcome)->length, 2u);
    EXPECT_EQ(cache.known_bytes(cpu), &ram[0x8000]);
    map(0x9000);
    EXPECT_EQ(cache.known_bytes(cpu), nullptr);
    EXPECT_EQ(cache.find(cpu, memory, outcome)->length, 3u);
    EXPECT_EQ(cache.known_bytes(cpu), &ram[0x9000]);
    cpu.cs.attributes &= static_cast<u16>(~segment_attribute::long_code);
    EXPECT_EQ(cache.known_bytes(cpu), nullptr) << "not 64-bit code";
    cpu.cs.attributes |= segment_attribute::long_code;
    cpu.cr3 = 0x2000;
    EXPECT_EQ(cache.known_bytes(cpu), nullptr) << "other page tables";
    cpu.cr3 = 0x1000;
    cpu.rip = 0x5ff2; // too near the end of the page
    EXPECT_EQ(cache.known_bytes(cpu), nullptr);
}

TEST(DecodeCache, InstructionAcrossPagesAndUnreachableOnes) {
    std::vector<u8> ram(1 << 16);
    const GuestMemory memory(ram.data(), ram.size());
    abi::VcpuState cpu;
    set_64_bit(cpu);
    cpu.rip = 0x1fff;
    ram[0x1fff] = 0x8b;
    ram[0x2000] = 0x03;
    DecodeCache cache;
    Outcome outcome;
    const Instruction* found = cache.find(cpu, memory, outcome);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->length, 2);
    cpu.rip = ram.size() - 1;
    EXPECT_EQ(cache.find(cpu, memory, outcome), nullptr) << "the rest is outside RAM";
    cpu.rip = ram.size();
    EXPECT_EQ(cache.find(cpu, memory, outcome), nullptr);
    EXPECT_EQ(outcome.kind, Outcome::Kind::unsupported);
}

} // namespace
} // namespace horos::vmm
