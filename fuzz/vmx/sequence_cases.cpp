// Sequences of VMX instructions with good and bad operands.
#include "cases.hpp"

namespace horos::fuzz::vmx {

namespace {

using model::vmx::Instruction;

struct Maker {
    const Profile& p;
    std::mt19937_64& random;
    const RuleState& base;
    uint64_t below(uint64_t n) { return random() % n; }
    bool one_in(uint64_t n) { return below(n) == 0; }

    uint64_t region() { return SEQUENCE_PA + below(3) * 4096; }
    uint64_t address() {
        switch (below(8)) {
        case 0:
            return region() | 1ull << below(12);
        case 1:
            return region() | 1ull << (p.physical_bits + below(64 - p.physical_bits));
        case 2:
            return VMXON_PA;
        case 3:
            return one_in(2) ? ~0ull : SEQUENCE_PA + 3 * 4096; // a VMXON region of ours
        default:
            return region();
        }
    }
    uint64_t encoding() {
        const auto fields = model::vmx::vmcs_fields();
        const uint16_t number = horos::vmx::encoding(fields[below(fields.size())].field);
        switch (below(8)) {
        case 0:
            return number | 1;
        case 1:
            return number | 1ull << below(64);
        case 2:
            return random() & 0x7fff;
        case 3:
            return uint64_t(Field::INSTRUCTION_ERROR);
        default:
            return number;
        }
    }
    Operand step(Instruction i, uint64_t operand = 0, uint64_t value = 0, uint64_t value2 = 0) {
        return {uint16_t(i), 0, 0, operand, value, value2};
    }
    uint64_t eptp() {
        const uint64_t good = EPT_PML4_PA | horos::vmx::eptp::TYPE_WB | horos::vmx::eptp::WALK_4;
        return one_in(2) ? good : good ^ 1ull << below(64);
    }
    Operand any();
    // What a launch would use keeps its value: the harness has to come back from it.
    Operand vmwrite() {
        Operand o = step(Instruction::VMWRITE, encoding(), random());
        // "High" halves of fields that have none: a part that takes them would write into two
        // fields, so only a read shows whether it does.
        const bool wide = (o.operand >> 13 & 3) == 1;
        if ((o.operand & 1) != 0 && !wide) {
            o.instruction = uint16_t(Instruction::VMREAD);
            return o;
        }
        // A part that ignores reserved bits of the encoding shall not lose its host state either.
        const auto* field = model::vmx::find_encoding(uint16_t(o.operand & 0x6ffe));
        if (field == nullptr ||
            horos::vmx::type(field->field) == horos::vmx::FieldType::READ_ONLY) {
            return o;
        }
        const Field f = field->field;
        const bool harmless = f == Field::TSC_OFFSET || f == Field::CR3_TARGET_0 ||
                              f == Field::CR3_TARGET_3 || f == Field::GUEST_SYSENTER_CS ||
                              f == Field::PLE_GAP || f == Field::CR0_SHADOW;
        if (!harmless) {
            o.value = (o.operand & 1) != 0 ? base[f] >> 32 : base[f];
        }
        return o;
    }
};

Operand Maker::any() {
    switch (below(16)) {
    case 0:
        return step(Instruction::VMXON, one_in(3) ? VMXON_PA : address());
    case 1:
        return step(Instruction::VMXOFF);
    case 2:
        return step(Instruction::VMCLEAR, address());
    case 3:
    case 4:
        return step(Instruction::VMPTRLD, address());
    case 5:
        return step(Instruction::VMPTRST);
    case 6:
    case 7:
        return step(Instruction::VMREAD, encoding());
    case 8:
        return vmwrite();
    case 9: {
        Operand o = step(one_in(2) ? Instruction::VMLAUNCH : Instruction::VMRESUME);
        o.mov_ss = one_in(6) ? 1 : 0;
        return o;
    }
    case 10:
        return step(Instruction::INVEPT, one_in(4) ? random() : below(4), eptp(), 0);
    case 11:
        return step(Instruction::INVVPID, one_in(8) ? random() : below(5),
                    one_in(4) ? random() : below(3), one_in(3) ? random() : CODE_PA);
    case 12:
        // VMCALL with a current VMCS that is clear ends Bochs: "VMCALL: not implemented yet".
        return step(Instruction::VMFUNC);
    case 13: // the fixed bits of CR0 and CR4 (NE, VMXE), which matter to VMXON too
        return one_in(2) ? step(Instruction::MOV_CR0, one_in(2) ? 0x80010013 : 0x80010033)
                         : step(Instruction::MOV_CR4, one_in(2) ? 0x20 : 0x2020);
    case 14:
        return {STEP_FILL, 0, 0, 0, 0, 0};
    default:
        return {STEP_REVISION,
                0,
                0,
                region(),
                one_in(2) ? p.revision() : p.revision() ^ 1ull << below(32),
                0};
    }
}

} // namespace

Test sequence_test(const RuleState& base, const Profile& profile, std::mt19937_64& random) {
    Maker make{profile, random, base};
    Test test;
    test.kind = Kind::SEQUENCE;
    test.state = base;
    if (!make.one_in(4)) { // a VMCS that can be launched
        const uint64_t region = make.region();
        test.steps.push_back(make.step(Instruction::VMCLEAR, region));
        test.steps.push_back(make.step(Instruction::VMPTRLD, region));
        test.steps.push_back({STEP_FILL, 0, 0, 0, 0, 0});
        if (make.one_in(2)) {
            test.steps.push_back(make.step(Instruction::VMLAUNCH));
        }
    }
    while (test.steps.size() < OPERATIONS) {
        test.steps.push_back(make.any());
    }
    return test;
}

} // namespace horos::fuzz::vmx
