// The VMX instructions as a state machine (SDM vol. 3C 325384-077US §§24.1, 24.11, 30.2, 30.3):
// VMX operation, the VMXON pointer, the current VMCS, and what each VMCS region holds.
//
//     Operation op(profile);
//     Completion c = op.execute({Instruction::VMXON, 0x1000});
//     if (c.status == Completion::VMFAIL_VALID) ... c.error
//
// This is root operation; the same instructions in a guest are exits (guest.hpp).
#pragma once

#include "horos/model/vmx/rules.hpp"

#include <map>

namespace horos::model::vmx {

enum class Instruction : uint8_t {
    VMXON,
    VMXOFF,
    VMCLEAR,
    VMPTRLD,
    VMPTRST,
    VMREAD,
    VMWRITE,
    VMLAUNCH,
    VMRESUME,
    INVEPT,
    INVVPID,
    VMFUNC,
    VMCALL,
    MOV_CR0, // VMX operation restricts them (§23.8)
    MOV_CR4,
};
inline constexpr size_t INSTRUCTIONS = 15;
std::string_view instruction_name(Instruction instruction);

struct Request {
    Instruction instruction = Instruction::VMXON;
    // VMXON, VMCLEAR, VMPTRLD: the address that the memory operand holds; VMREAD, VMWRITE: the
    // encoding; INVEPT, INVVPID: the type; MOV: the value.
    uint64_t operand = 0;
    uint64_t value = 0;  // VMWRITE: what to write; INVEPT, INVVPID: bits 63:0 of the descriptor
    uint64_t value2 = 0; // INVEPT, INVVPID: bits 127:64
    bool register_operand = false; // in place of the memory operand: #UD
    bool mov_ss = false;           // VMLAUNCH, VMRESUME: events are blocked by MOV SS
};

struct Completion {
    enum Status : uint8_t {
        SUCCEED,
        VMFAIL_INVALID,
        VMFAIL_VALID,
        UD,
        GP, // error code 0
        // VMLAUNCH, VMRESUME: the instruction's own checks held and the VMCS is known to be legal:
        // the guest starts.
        ENTERS,
        ENTRY_FAILURE, // exit 33: `failures`
        OPEN, // the manual does not say: a VMCS with fields that were never written, a reserved bit
    };
    Status status = SUCCEED;
    horos::vmx::InstructionError error = horos::vmx::InstructionError::NONE; // VMFAIL_VALID
    uint64_t value = 0;                                                      // VMREAD, VMPTRST
    bool known = true; // whether `value` is defined
    Failures failures; // VMLAUNCH, VMRESUME: what else is allowed
};

// What decides before the instruction looks at its operands.
struct Surroundings {
    uint64_t cr0 = 0, cr4 = 0, rflags = 0, efer = 0;
    bool cs_l = true;
    uint8_t cpl = 0;
    uint64_t feature_control = 0;
    bool smx = false;  // in SMX operation
    bool a20m = false; // A20M mode
};

// What a page of memory holds as a VMCS or VMXON region.
struct Region {
    uint32_t revision = 0; // the first four bytes
    bool launched = false;
    std::map<uint16_t, uint64_t> fields; // by encoding; absent: never written, so undefined
};

inline constexpr uint64_t NO_VMCS = ~0ull;

class Operation {
public:
    explicit Operation(const Profile& profile);

    Completion execute(const Request& request);
    // The guest that ENTERS started has left again: the VMCS is launched, and these hold what the
    // exit wrote. Fields that the exit writes otherwise become undefined.
    void left_guest(const Vmcs* saved);

    Surroundings cpu;
    bool vmx_operation = false;
    uint64_t vmxon_pointer = 0;
    uint64_t current = NO_VMCS;
    std::map<uint64_t, Region> regions; // by address; absent: zeros

private:
    Completion vmxon(const Request& request);

    Completion vmclear(uint64_t address);
    Completion vmptrld(uint64_t address);
    Completion access_field(const Request& request);
    Completion vmwrite(const FieldInfo& field, bool high, uint64_t value);
    Completion enter(const Request& request);
    Completion invept(const Request& request);
    Completion invvpid(const Request& request);
    Completion move_control(const Request& request);
    Completion fail(horos::vmx::InstructionError error);
    bool undefined_here(const Request& request) const;
    bool region_address(uint64_t address) const;
    bool controls_allow_vmx() const;
    RuleState entry_state(const Request& request) const;

    const Profile* profile_;
};

// Whether a field's numbers may be used: "VMREAD/VMWRITE from/to unsupported VMCS component".
// Takes the encoding as the instruction gets it, high halves included.
const FieldInfo* accessible_field(uint64_t encoding, const Profile& profile);

} // namespace horos::model::vmx
