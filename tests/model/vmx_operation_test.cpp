// The VMX instructions in root operation: directed cases and properties of random sequences.
#include "horos/model/vmx/operation.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace {

using namespace horos::model::vmx;
using horos::vmx::InstructionError;
using Status = Completion::Status;

constexpr uint64_t VMXON_REGION = 0x1000, A = 0x2000, B = 0x3000, SHADOW = 0x4000;

const Profile& skylake() { return builtin_profile("bochs-2.7-skylake-x"); }

Operation machine(const Profile& profile = skylake()) {
    Operation op(profile);
    for (uint64_t region : {VMXON_REGION, A, B}) {
        op.regions[region].revision = profile.revision();
    }
    op.regions[SHADOW].revision = profile.revision() | horos::vmx::REVISION_SHADOW;
    return op;
}
Operation in_root() {
    Operation op = machine();
    EXPECT_EQ(op.execute({Instruction::VMXON, VMXON_REGION}).status, Status::SUCCEED);
    return op;
}
Completion fails(InstructionError error) {
    Completion c;
    c.status = Status::VMFAIL_VALID;
    c.error = error;
    return c;
}
void expect(Operation& op, Request r, const Completion& wanted) {
    const Completion c = op.execute(r);
    EXPECT_EQ(c.status, wanted.status) << instruction_name(r.instruction);
    EXPECT_EQ(unsigned(c.error), unsigned(wanted.error)) << instruction_name(r.instruction);
}
void load(Operation& op, uint64_t region) {
    op.execute({Instruction::VMCLEAR, region});
    EXPECT_EQ(op.execute({Instruction::VMPTRLD, region}).status, Status::SUCCEED);
}
void fill(Operation& op, const RuleState& state) {
    for (const FieldInfo& field : vmcs_fields()) {
        if (horos::vmx::type(field.field) != horos::vmx::FieldType::READ_ONLY &&
            field.needs.met(skylake())) {
            op.execute(
                {Instruction::VMWRITE, horos::vmx::encoding(field.field), state[field.field]});
        }
    }
}
RuleState valid_state() {
    RuleState state = default_state(skylake());
    return state;
}

TEST(VmxOperation, OutsideVmxOperationAllButVmxonIsUndefined) {
    Operation op = machine();
    for (Instruction i :
         {Instruction::VMXOFF, Instruction::VMCLEAR, Instruction::VMPTRLD, Instruction::VMPTRST,
          Instruction::VMREAD, Instruction::VMWRITE, Instruction::VMLAUNCH, Instruction::VMRESUME,
          Instruction::INVEPT, Instruction::INVVPID, Instruction::VMFUNC, Instruction::VMCALL}) {
        EXPECT_EQ(op.execute({i, A}).status, Status::UD) << instruction_name(i);
    }
}

TEST(VmxOperation, UndefinedComesBeforeThePrivilegeAndThatBeforeTheOperand) {
    Operation op = machine();
    op.cpu.cpl = 3;
    op.cpu.cr4 = 0;
    EXPECT_EQ(op.execute({Instruction::VMXON, 1}).status, Status::UD);
    op.cpu.cr4 = horos::x86::cr4::VMXE | horos::x86::cr4::PAE;
    EXPECT_EQ(op.execute({Instruction::VMXON, 1}).status, Status::GP);
    op.cpu.cpl = 0;
    EXPECT_EQ(op.execute({Instruction::VMXON, 1}).status, Status::VMFAIL_INVALID);
    op.cpu.cs_l = false; // compatibility mode
    EXPECT_EQ(op.execute({Instruction::VMXON, VMXON_REGION}).status, Status::UD);
}

TEST(VmxOperation, VmxonWantsTheFeatureControlAndTheFixedBits) {
    for (unsigned what = 0; what < 4; ++what) {
        Operation op = machine();
        switch (what) {
        case 0:
            op.cpu.feature_control = 4; // not locked
            break;
        case 1:
            op.cpu.feature_control = 3; // in SMX operation only
            break;
        case 2:
            op.cpu.cr0 &= ~horos::x86::cr0::NE;
            break;
        default:
            op.cpu.a20m = true;
        }
        EXPECT_EQ(op.execute({Instruction::VMXON, VMXON_REGION}).status, Status::GP) << what;
        EXPECT_FALSE(op.vmx_operation);
    }
    Operation op = machine();
    EXPECT_EQ(op.execute({Instruction::VMXON, SHADOW}).status, Status::VMFAIL_INVALID);
    EXPECT_EQ(op.execute({Instruction::VMXON, 0x9000}).status, Status::VMFAIL_INVALID);
}

TEST(VmxOperation, FailuresHaveTheManualsNumbers) {
    Operation op = in_root();
    // Without a current VMCS there is no place for a number.
    EXPECT_EQ(op.execute({Instruction::VMCLEAR, 1}).status, Status::VMFAIL_INVALID);
    EXPECT_EQ(op.execute({Instruction::VMREAD, 0}).status, Status::VMFAIL_INVALID);
    load(op, A);
    expect(op, {Instruction::VMXON, VMXON_REGION}, fails(InstructionError::VMXON_IN_ROOT));
    expect(op, {Instruction::VMCLEAR, A + 8}, fails(InstructionError::VMCLEAR_ADDRESS));
    expect(op, {Instruction::VMCLEAR, VMXON_REGION},
           fails(InstructionError::VMCLEAR_VMXON_POINTER));
    expect(op, {Instruction::VMPTRLD, 1ull << 60}, fails(InstructionError::VMPTRLD_ADDRESS));
    expect(op, {Instruction::VMPTRLD, VMXON_REGION},
           fails(InstructionError::VMPTRLD_VMXON_POINTER));
    expect(op, {Instruction::VMPTRLD, 0x8000}, fails(InstructionError::VMPTRLD_REVISION));
    expect(op, {Instruction::VMREAD, 0x7ffe}, fails(InstructionError::UNSUPPORTED_FIELD));
    expect(op, {Instruction::VMREAD, 0x0001}, fails(InstructionError::UNSUPPORTED_FIELD));
    expect(op, {Instruction::VMREAD, 1ull << 32}, fails(InstructionError::UNSUPPORTED_FIELD));
    expect(op, {Instruction::VMCALL}, fails(InstructionError::VMCALL_IN_ROOT));
    expect(op, {Instruction::INVEPT, 9}, fails(InstructionError::INVEPT_INVVPID_OPERAND));
    expect(op, {Instruction::INVVPID, 1, 0}, fails(InstructionError::INVEPT_INVVPID_OPERAND));
    // The number can be read back.
    const Completion error =
        op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::INSTRUCTION_ERROR)});
    EXPECT_EQ(error.value, uint64_t(InstructionError::INVEPT_INVVPID_OPERAND));
}

TEST(VmxOperation, VmwriteOfReadOnlyFieldsDependsOnThePart) {
    Operation op = in_root();
    load(op, A);
    const Request r{Instruction::VMWRITE, horos::vmx::encoding(Field::EXIT_REASON), 5};
    const bool any = (skylake().misc & horos::vmx::misc::VMWRITE_ANY) != 0;
    expect(op, r, any ? Completion{} : fails(InstructionError::VMWRITE_READ_ONLY));
    Profile other = skylake();
    other.misc ^= horos::vmx::misc::VMWRITE_ANY;
    Operation op2 = machine(other);
    op2.execute({Instruction::VMXON, VMXON_REGION});
    load(op2, A);
    expect(op2, r, any ? fails(InstructionError::VMWRITE_READ_ONLY) : Completion{});
}

TEST(VmxOperation, TheLaunchStateDecidesBetweenVmlaunchAndVmresume) {
    Operation op = in_root();
    load(op, A);
    fill(op, valid_state());
    expect(op, {Instruction::VMRESUME}, fails(InstructionError::VMRESUME_NOT_LAUNCHED));
    EXPECT_EQ(op.execute({Instruction::VMLAUNCH}).status, Status::ENTERS);
    op.left_guest(nullptr);
    expect(op, {Instruction::VMLAUNCH}, fails(InstructionError::VMLAUNCH_NOT_CLEAR));
    // What the exit wrote is no longer known.
    EXPECT_FALSE(op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::GUEST_RIP)}).known);
    fill(op, valid_state());
    EXPECT_EQ(op.execute({Instruction::VMRESUME}).status, Status::ENTERS);
    op.left_guest(nullptr);
    op.execute({Instruction::VMCLEAR, A});
    EXPECT_EQ(op.current, NO_VMCS);
    EXPECT_EQ(op.execute({Instruction::VMRESUME}).status, Status::VMFAIL_INVALID);
    op.execute({Instruction::VMPTRLD, A});
    expect(op, {Instruction::VMRESUME}, fails(InstructionError::VMRESUME_NOT_LAUNCHED));
}

TEST(VmxOperation, AVmcsKeepsItsFieldsWhileAnotherIsCurrent) {
    Operation op = in_root();
    load(op, A);
    op.execute({Instruction::VMWRITE, horos::vmx::encoding(Field::TSC_OFFSET), 0x123456789abcdef});
    load(op, B);
    EXPECT_FALSE(op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::TSC_OFFSET)}).known);
    op.execute({Instruction::VMPTRLD, A});
    EXPECT_EQ(op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::TSC_OFFSET)}).value,
              0x123456789abcdefull);
    EXPECT_EQ(op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::TSC_OFFSET) + 1}).value,
              0x1234567ull);
    op.execute({Instruction::VMWRITE, horos::vmx::encoding(Field::TSC_OFFSET) + 1u, 0x11});
    EXPECT_EQ(op.execute({Instruction::VMREAD, horos::vmx::encoding(Field::TSC_OFFSET)}).value,
              0x1189abcdefull);
}

TEST(VmxOperation, ABadControlFieldIsErrorSevenAndMovSsComesFirst) {
    Operation op = in_root();
    load(op, A);
    RuleState state = valid_state();
    state[Field::PIN_CONTROLS] = 0;
    fill(op, state);
    Request launch{Instruction::VMLAUNCH};
    expect(op, launch, fails(InstructionError::ENTRY_CONTROLS));
    launch.mov_ss = true;
    expect(op, launch, fails(InstructionError::ENTRY_BLOCKED_BY_MOV_SS));
}

TEST(VmxOperation, TheFixedBitsHoldInVmxOperationOnly) {
    Operation op = in_root();
    EXPECT_EQ(op.execute({Instruction::MOV_CR4, horos::x86::cr4::PAE}).status, Status::GP);
    EXPECT_EQ(op.execute({Instruction::MOV_CR0, 0x80000011}).status, Status::GP);
    op.execute({Instruction::VMXOFF});
    EXPECT_EQ(op.execute({Instruction::MOV_CR4, horos::x86::cr4::PAE}).status, Status::SUCCEED);
}

Request any_request() {
    Request r;
    r.instruction = Instruction(*rc::gen::inRange<size_t>(0, INSTRUCTIONS));
    const uint64_t regions[] = {VMXON_REGION, A, B, SHADOW, 0x9000, A + 1, ~0ull};
    const auto fields = vmcs_fields();
    switch (r.instruction) {
    case Instruction::VMREAD:
    case Instruction::VMWRITE:
        r.operand =
            horos::vmx::encoding(fields[*rc::gen::inRange<size_t>(0, fields.size())].field) |
            *rc::gen::inRange(0, 2);
        break;
    case Instruction::INVEPT:
    case Instruction::INVVPID:
        r.operand = *rc::gen::inRange(0, 5);
        break;
    case Instruction::MOV_CR0:
        r.operand = *rc::gen::element<uint64_t>(0x80010031, 0x80010011);
        break;
    case Instruction::MOV_CR4:
        r.operand = *rc::gen::element<uint64_t>(0x20, 0x2020);
        break;
    default:
        r.operand =
            *rc::gen::elementOf(std::vector<uint64_t>(std::begin(regions), std::end(regions)));
    }
    r.value = *rc::gen::arbitrary<uint64_t>();
    return r;
}

// Whatever happens: a current VMCS exists in VMX operation only, is never the VMXON region, and a
// failure that names an error has left it in the current VMCS.
RC_GTEST_PROP(VmxOperation, RandomSequencesKeepTheInvariants, ()) {
    Operation op = machine();
    const auto steps = *rc::gen::inRange(1, 60);
    for (int n = 0; n < steps; ++n) {
        const Request r = any_request();
        const bool on = op.vmx_operation;
        const uint64_t before = op.current;
        const Completion c = op.execute(r);
        RC_ASSERT(op.vmx_operation || op.current == NO_VMCS);
        RC_ASSERT(op.current == NO_VMCS || op.current != op.vmxon_pointer);
        if (c.status == Status::VMFAIL_VALID) {
            RC_ASSERT(before != NO_VMCS);
            const auto& fields = op.regions.at(op.current).fields;
            const auto found = fields.find(horos::vmx::encoding(Field::INSTRUCTION_ERROR));
            RC_ASSERT(found == fields.end() || found->second == uint64_t(c.error));
        }
        // What fails changes neither the mode nor the pointer.
        if (c.status != Status::SUCCEED && c.status != Status::ENTERS) {
            RC_ASSERT(op.vmx_operation == on && op.current == before);
        }
    }
}

// What VMWRITE has put, VMREAD gives back, cut to the field's width.
RC_GTEST_PROP(VmxOperation, VmreadGivesWhatVmwriteTook, ()) {
    Operation op = in_root();
    load(op, A);
    const auto fields = vmcs_fields();
    const FieldInfo& field = fields[*rc::gen::inRange<size_t>(0, fields.size())];
    const auto value = *rc::gen::arbitrary<uint64_t>();
    const Completion c =
        op.execute({Instruction::VMWRITE, horos::vmx::encoding(field.field), value});
    if (c.status == Status::SUCCEED) {
        const uint64_t mask = field.bits >= 64 ? ~0ull : (1ull << field.bits) - 1;
        RC_ASSERT(op.execute({Instruction::VMREAD, horos::vmx::encoding(field.field)}).value ==
                  (value & mask));
    } else {
        RC_ASSERT(c.status == Status::VMFAIL_VALID);
    }
}

} // namespace
