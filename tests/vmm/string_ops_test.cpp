#include <gtest/gtest.h>

#include "emulation.hpp"

namespace horos::vmm {
namespace {

using abi::Gpr;

struct StringTest : testing::Test {
    std::vector<u8> ram = std::vector<u8>(1 << 16);
    GuestMemory memory{ram.data(), ram.size()};
    abi::VcpuState cpu{};
    BufferBus bus;
    RecordingPorts ports;
    void SetUp() override {
        set_64_bit(cpu);
        bus.base = 0x10'0000;
        bus.bytes.resize(0x1000);
        for (u32 i = 0; i < ram.size(); ++i)
            ram[i] = static_cast<u8>(i * 7);
    }
    Outcome run(std::vector<u8> bytes, bool port = false) {
        Instruction instruction;
        EXPECT_TRUE(decode(bytes.data(), static_cast<unsigned>(bytes.size()), CodeSize::bits_64,
                           instruction));
        Emulator emulator(cpu, memory, bus, ports);
        return port ? emulator.string_io(instruction) : emulator.memory_access(instruction, 0);
    }
    void set(u64 rcx, u64 rsi, u64 rdi) {
        reg(cpu, Gpr::rcx) = rcx;
        reg(cpu, Gpr::rsi) = rsi;
        reg(cpu, Gpr::rdi) = rdi;
    }
};

TEST_F(StringTest, RepMovsFromRamToDevice) {
    set(16, 0x100, 0x10'0010);
    ASSERT_TRUE(run({0xf3, 0xa5}).ok()); // rep movsd
    EXPECT_EQ(std::memcmp(bus.bytes.data() + 0x10, ram.data() + 0x100, 64), 0);
    EXPECT_EQ(reg(cpu, Gpr::rcx), 0u);
    EXPECT_EQ(reg(cpu, Gpr::rsi), 0x140u);
    EXPECT_EQ(reg(cpu, Gpr::rdi), 0x10'0050u);
}

TEST_F(StringTest, LongOnesAreDoneInSlices) {
    set(Emulator::slice + 3, 0x100, 0x10'0000);
    EXPECT_EQ(run({0xf3, 0xa4}).kind, Outcome::Kind::again);
    EXPECT_EQ(reg(cpu, Gpr::rcx), 3u);
    EXPECT_TRUE(run({0xf3, 0xa4}).ok());
    EXPECT_EQ(std::memcmp(bus.bytes.data(), ram.data() + 0x100, Emulator::slice + 3), 0);
}

TEST_F(StringTest, BackwardsWithDirectionFlag) {
    cpu.rflags |= x86::rflags::DF;
    set(2, 0x108, 0x10'0008);
    ASSERT_TRUE(run({0xf3, 0x48, 0xa5}).ok());
    EXPECT_EQ(reg(cpu, Gpr::rsi), 0xf8u);
    EXPECT_EQ(std::memcmp(bus.bytes.data(), ram.data() + 0x100, 16), 0);
}

TEST_F(StringTest, CountZeroDoesNothing) {
    set(0, 0x100, 0x10'0000);
    EXPECT_TRUE(run({0xf3, 0xa4}).ok());
    EXPECT_EQ(bus.writes, 0u);
    EXPECT_EQ(reg(cpu, Gpr::rsi), 0x100u);
}

TEST_F(StringTest, StosLodsScasCmps) {
    reg(cpu, Gpr::rax) = 0x1122'3344'5566'7788;
    set(3, 0, 0x10'0000);
    ASSERT_TRUE(run({0xf3, 0xaa}).ok()); // rep stosb
    EXPECT_EQ(bus.bytes[2], 0x88);
    EXPECT_EQ(bus.bytes[3], 0);
    set(0, 0x10'0000, 0);
    ASSERT_TRUE(run({0xad}).ok()); // lodsd: the upper half is cleared
    EXPECT_EQ(reg(cpu, Gpr::rax), 0x0088'8888u);
    reg(cpu, Gpr::rax) = 0;
    set(10, 0, 0x10'0000);
    ASSERT_TRUE(run({0xf2, 0xae}).ok()); // repne scasb finds the zero
    EXPECT_EQ(reg(cpu, Gpr::rcx), 6u);
    EXPECT_TRUE(cpu.rflags & x86::rflags::ZF);
    std::memcpy(ram.data() + 0x200, "abcX", 4);
    std::memcpy(bus.bytes.data(), "abcd", 4);
    set(4, 0x200, 0x10'0000);
    ASSERT_TRUE(run({0xf3, 0xa6}).ok()); // repe cmpsb
    EXPECT_EQ(reg(cpu, Gpr::rcx), 0u);
    EXPECT_FALSE(cpu.rflags & x86::rflags::ZF);
    EXPECT_TRUE(cpu.rflags & x86::rflags::CF) << "X comes before d";
}

TEST_F(StringTest, OutsAndIns) {
    std::memcpy(ram.data() + 0x300, "Horos", 5);
    reg(cpu, Gpr::rdx) = 0x3f8;
    set(5, 0x300, 0);
    ASSERT_TRUE(run({0xf3, 0x6e}, true).ok());
    ASSERT_EQ(ports.out.size(), 5u);
    EXPECT_EQ(ports.out[4], (std::pair<u16, u32>(0x3f8, 's')));
    ports.in = {0x2222, 0x1111};
    set(2, 0, 0x400);
    ASSERT_TRUE(run({0xf3, 0x66, 0x6d}, true).ok());
    EXPECT_EQ(ram[0x400], 0x11);
    EXPECT_EQ(ram[0x403], 0x22);
}

TEST_F(StringTest, AFaultStopsAtItsElement) {
    // Paging on with one mapped page: the second page faults.
    cpu.cr0 |= x86::cr0::PG;
    cpu.cr3 = 0x8000;
    for (const u64 table : {0x8000, 0x9000, 0xa000, 0xb000})
        std::memset(ram.data() + table, 0, 4096);
    memory.store<u64>(0x8000, 0x9003);
    memory.store<u64>(0x9000, 0xa003);
    memory.store<u64>(0xa000, 0xb003);
    memory.store<u64>(0xb000, 0xc003);    // linear 0 is RAM
    memory.store<u64>(0xb008, 0x10'0003); // linear 0x1000 is the device
    set(8, 0xffc, 0x1000);
    reg(cpu, Gpr::rdx) = 0;
    const auto outcome = run({0xf3, 0xa4}); // reads 0xffc.. and then the device page itself
    EXPECT_TRUE(outcome.ok());
    set(8, 0x1ffc, 0x0); // the source runs into an unmapped page
    const auto fault = run({0xf3, 0xa4});
    ASSERT_EQ(fault.kind, Outcome::Kind::exception);
    EXPECT_EQ(fault.exception.vector, 14);
    EXPECT_EQ(fault.exception.cr2, 0x2000u);
    EXPECT_EQ(reg(cpu, Gpr::rcx), 4u);
    EXPECT_EQ(reg(cpu, Gpr::rsi), 0x2000u);
}

} // namespace
} // namespace horos::vmm
