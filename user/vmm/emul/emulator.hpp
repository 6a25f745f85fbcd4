// Executes one decoded instruction on a virtual CPU's state page: what the processor would have
// done, had the memory been RAM or the port been there.
#pragma once

#include "emul/linear_memory.hpp"

namespace horos::vmm {

// Ports as string I/O sees them.
class PortBus {
public:
    virtual u32 port_read(u16 port, unsigned bytes) = 0;
    virtual void port_write(u16 port, unsigned bytes, u32 value) = 0;

protected:
    ~PortBus() = default;
};

class Emulator {
public:
    // Elements of a REP instruction done in one step, so that a guest cannot keep its VMM from
    // looking at interrupts.
    static constexpr unsigned slice = 64;

    Emulator(abi::VcpuState& cpu, const GuestMemory& memory, MmioBus& mmio, PortBus& ports)
        : cpu_(cpu), access_(cpu, memory, mmio), mmio_(mmio), ports_(ports) {}

    // An instruction that touched the guest-physical address of a nested page fault.
    Outcome memory_access(const Instruction& instruction, u64 physical);
    // The value that MOV to a control register or LMSW would write.
    Outcome control_value(const Instruction& instruction, u64& value);
    // INS or OUTS.
    Outcome string_io(const Instruction& instruction);

private:
    using Gpr = abi::Gpr;

    // emulator.cpp
    bool simple_move(const Instruction& instruction, u64 physical);
    u64 operand_offset(const Instruction& instruction) const;
    u64 read_gpr(const Operand& operand) const;
    void write_gpr(const Operand& operand, u64 value);
    Outcome operand_address(const Instruction& instruction, unsigned bytes, bool write,
                            u64& result);
    u64 source_value(const Instruction& instruction) const;
    void set_flags(u64 mask, u64 value);
    bool flag(u64 mask) const { return (cpu_.rflags & mask) != 0; }
    Outcome load(const Instruction& instruction);
    Outcome modify(const Instruction& instruction);
    Outcome bit_operation(const Instruction& instruction);
    Outcome compare_exchange(const Instruction& instruction);

    // string_ops.cpp
    Outcome string_loop(const Instruction& instruction);
    Outcome string_element(const Instruction& instruction);
    u64 count_register(const Instruction& instruction) const;
    void set_address_gpr(const Instruction& instruction, Gpr gpr, u64 value);
    u64 address_gpr(const Instruction& instruction, Gpr gpr) const;
    void step_pointer(const Instruction& instruction, Gpr gpr);
    Outcome source_element(const Instruction& instruction, u64& value);
    Outcome destination_address(const Instruction& instruction, bool write, u64& linear);

    u64& gpr(Gpr number) { return cpu_.gpr[static_cast<u32>(number)]; }
    u64 gpr(Gpr number) const { return cpu_.gpr[static_cast<u32>(number)]; }

    abi::VcpuState& cpu_;
    LinearMemory access_;
    MmioBus& mmio_;
    PortBus& ports_;
};

} // namespace horos::vmm
