// VMXON to VMCALL in VMX root operation.
#include "horos/model/vmx/operation.hpp"

namespace horos::model::vmx {

using horos::vmx::Activity;
using horos::vmx::InstructionError;
namespace ept_cap = horos::vmx::ept_cap;

namespace {

constexpr uint64_t PAGE_LOW = 0xfff;
constexpr uint32_t SHADOW_INDICATOR = horos::vmx::REVISION_SHADOW;

Completion just(Completion::Status status) {
    Completion c;
    c.status = status;
    return c;
}

bool canonical(uint64_t address, unsigned bits) {
    const uint64_t sign = ~((1ull << (bits - 1)) - 1);
    return (address & sign) == 0 || (address & sign) == sign;
}

bool takes_memory(Instruction i) {
    switch (i) {
    case Instruction::VMXON:
    case Instruction::VMCLEAR:
    case Instruction::VMPTRLD:
    case Instruction::VMPTRST:
    case Instruction::INVEPT:
    case Instruction::INVVPID:
        return true;
    default:
        return false;
    }
}

} // namespace

std::string_view instruction_name(Instruction instruction) {
    constexpr std::string_view NAMES[INSTRUCTIONS] = {
        "VMXON",    "VMXOFF", "VMCLEAR", "VMPTRLD", "VMPTRST", "VMREAD",  "VMWRITE", "VMLAUNCH",
        "VMRESUME", "INVEPT", "INVVPID", "VMFUNC",  "VMCALL",  "MOV CR0", "MOV CR4"};
    return NAMES[static_cast<size_t>(instruction)];
}

const FieldInfo* accessible_field(uint64_t encoding, const Profile& profile) {
    // In 64-bit mode bits 63:32 of the register count too (§30.3, VMREAD).
    if ((encoding & (0xffffffff00000000ull | horos::vmx::ENCODING_RESERVED)) != 0) {
        return nullptr;
    }
    const auto number = static_cast<uint16_t>(encoding);
    const FieldInfo* field = find_encoding(number & ~uint16_t{horos::vmx::ACCESS_HIGH});
    if (field == nullptr || !field->needs.met(profile)) {
        return nullptr;
    }
    const bool high = (number & horos::vmx::ACCESS_HIGH) != 0;
    const bool has_high = horos::vmx::width(field->field) == horos::vmx::FieldWidth::BITS_64;
    return high && !has_high ? nullptr : field;
}

Operation::Operation(const Profile& profile) : profile_(&profile) {
    cpu.cr0 = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    cpu.cr4 = x86::cr4::PAE | x86::cr4::VMXE;
    cpu.rflags = x86::rflags::ONE;
    cpu.efer = x86::efer::LME | x86::efer::LMA;
    cpu.feature_control =
        horos::vmx::feature_control::LOCK | horos::vmx::feature_control::VMXON_OUTSIDE_SMX;
}

// §30.2: with a current VMCS the error goes into it.
Completion Operation::fail(InstructionError error) {
    if (current == NO_VMCS) {
        return just(Completion::VMFAIL_INVALID);
    }
    regions[current].fields[horos::vmx::encoding(Field::INSTRUCTION_ERROR)] =
        static_cast<uint64_t>(error);
    Completion c = just(Completion::VMFAIL_VALID);
    c.error = error;
    return c;
}

// 4-KiB aligned and within the physical-address width, or 32 bits where the part says so.
bool Operation::region_address(uint64_t address) const {
    const bool narrow = (profile_->basic & horos::vmx::basic::ADDRESSES_32_BIT) != 0;
    const uint64_t limit = narrow ? 1ull << 32 : profile_->physical_limit();
    return (address & PAGE_LOW) == 0 && address < limit;
}

// §23.8: bits that VMX operation fixes.
bool Operation::controls_allow_vmx() const {
    return (cpu.cr0 & profile_->cr0_fixed0) == profile_->cr0_fixed0 &&
           (cpu.cr0 & ~profile_->cr0_fixed1) == 0 &&
           (cpu.cr4 & profile_->cr4_fixed0) == profile_->cr4_fixed0 &&
           (cpu.cr4 & ~profile_->cr4_fixed1) == 0;
}

// The #UD conditions that stand at the head of every instruction's description.
bool Operation::undefined_here(const Request& r) const {
    const bool mode = (cpu.cr0 & x86::cr0::PE) == 0 || (cpu.rflags & x86::rflags::VM) != 0 ||
                      ((cpu.efer & x86::efer::LMA) != 0 && !cpu.cs_l);
    switch (r.instruction) {
    case Instruction::MOV_CR0:
    case Instruction::MOV_CR4:
        return false;
    case Instruction::VMFUNC: // only in VMX non-root operation
        return true;
    case Instruction::VMXON:
        return r.register_operand || mode || (cpu.cr4 & x86::cr4::VMXE) == 0;
    case Instruction::INVEPT:
        return r.register_operand || mode || !vmx_operation ||
               (profile_->ept_vpid & ept_cap::INVEPT) == 0;
    case Instruction::INVVPID:
        return r.register_operand || mode || !vmx_operation ||
               (profile_->ept_vpid & ept_cap::INVVPID) == 0;
    default:
        return mode || !vmx_operation || (r.register_operand && takes_memory(r.instruction));
    }
}

Completion Operation::execute(const Request& r) {
    if (undefined_here(r)) {
        return just(Completion::UD);
    }
    if (cpu.cpl != 0) {
        return just(Completion::GP);
    }
    switch (r.instruction) {
    case Instruction::VMXON:
        return vmxon(r);
    case Instruction::VMXOFF:
        vmx_operation = false;
        current = NO_VMCS;
        return just(Completion::SUCCEED);
    case Instruction::VMCLEAR:
        return vmclear(r.operand);
    case Instruction::VMPTRLD:
        return vmptrld(r.operand);
    case Instruction::VMPTRST: {
        Completion c = just(Completion::SUCCEED);
        c.value = current;
        return c;
    }
    case Instruction::VMREAD:
    case Instruction::VMWRITE:
        return access_field(r);
    case Instruction::VMLAUNCH:
    case Instruction::VMRESUME:
        return enter(r);
    case Instruction::INVEPT:
        return invept(r);
    case Instruction::INVVPID:
        return invvpid(r);
    case Instruction::MOV_CR0:
    case Instruction::MOV_CR4:
        return move_control(r);
    default:
        return fail(InstructionError::VMCALL_IN_ROOT); // without a dual-monitor treatment
    }
}

Completion Operation::vmxon(const Request& r) {
    if (vmx_operation) {
        return fail(InstructionError::VMXON_IN_ROOT);
    }
    namespace fc = horos::vmx::feature_control;
    const uint64_t wanted = cpu.smx ? fc::VMXON_IN_SMX : fc::VMXON_OUTSIDE_SMX;
    if (cpu.a20m || !controls_allow_vmx() || (cpu.feature_control & fc::LOCK) == 0 ||
        (cpu.feature_control & wanted) == 0) {
        return just(Completion::GP);
    }
    // The whole word: a VMXON region is not a shadow VMCS.
    if (!region_address(r.operand) || regions[r.operand].revision != profile_->revision()) {
        return just(Completion::VMFAIL_INVALID);
    }
    vmx_operation = true;
    vmxon_pointer = r.operand;
    current = NO_VMCS;
    return just(Completion::SUCCEED);
}

Completion Operation::vmclear(uint64_t address) {
    if (!region_address(address)) {
        return fail(InstructionError::VMCLEAR_ADDRESS);
    }
    if (address == vmxon_pointer) {
        return fail(InstructionError::VMCLEAR_VMXON_POINTER);
    }
    regions[address].launched = false;
    if (current == address) {
        current = NO_VMCS;
    }
    return just(Completion::SUCCEED);
}

Completion Operation::vmptrld(uint64_t address) {
    if (!region_address(address)) {
        return fail(InstructionError::VMPTRLD_ADDRESS);
    }
    if (address == vmxon_pointer) {
        return fail(InstructionError::VMPTRLD_VMXON_POINTER);
    }
    const uint32_t revision = regions[address].revision;
    const bool shadow = (revision & SHADOW_INDICATOR) != 0;
    if ((revision & ~SHADOW_INDICATOR) != profile_->revision() ||
        (shadow && !profile_->proc2.can(horos::vmx::proc2::VMCS_SHADOWING))) {
        return fail(InstructionError::VMPTRLD_REVISION);
    }
    current = address;
    return just(Completion::SUCCEED);
}

Completion Operation::access_field(const Request& r) {
    if (current == NO_VMCS) {
        return just(Completion::VMFAIL_INVALID);
    }
    const FieldInfo* field = accessible_field(r.operand, *profile_);
    if (field == nullptr) {
        return fail(InstructionError::UNSUPPORTED_FIELD);
    }
    const bool high = (r.operand & horos::vmx::ACCESS_HIGH) != 0;
    if (r.instruction == Instruction::VMWRITE) {
        return vmwrite(*field, high, r.value);
    }
    const auto& fields = regions[current].fields;
    const auto found = fields.find(horos::vmx::encoding(field->field));
    Completion c = just(Completion::SUCCEED);
    c.known = found != fields.end();
    c.value = !c.known ? 0 : high ? found->second >> 32 : found->second;
    return c;
}

Completion Operation::vmwrite(const FieldInfo& field, bool high, uint64_t value) {
    const bool read_only = horos::vmx::type(field.field) == horos::vmx::FieldType::READ_ONLY;
    if (read_only && (profile_->misc & horos::vmx::misc::VMWRITE_ANY) == 0) {
        return fail(InstructionError::VMWRITE_READ_ONLY);
    }
    auto& fields = regions[current].fields;
    const uint16_t number = horos::vmx::encoding(field.field);
    const auto found = fields.find(number);
    if (high) { // the low half of a field never written stays undefined: so does the field
        if (found != fields.end()) {
            found->second = (found->second & 0xffffffff) | value << 32;
        }
        return just(Completion::SUCCEED);
    }
    fields[number] = field.bits >= 64 ? value : value & ((1ull << field.bits) - 1);
    return just(Completion::SUCCEED);
}

RuleState Operation::entry_state(const Request& r) const {
    RuleState s;
    s[Extra::VMX_OPERATION] = 1;
    s[Extra::CPL] = cpu.cpl;
    s[Extra::CR0] = cpu.cr0;
    s[Extra::RFLAGS] = cpu.rflags;
    s[Extra::EFER] = cpu.efer;
    s[Extra::CS_L] = cpu.cs_l ? 1 : 0;
    s[Extra::CURRENT_VMCS] = current;
    s[Extra::MOV_SS] = r.mov_ss ? 1 : 0;
    s[Extra::VMRESUME] = r.instruction == Instruction::VMRESUME ? 1 : 0;
    if (current != NO_VMCS) {
        const Region& region = regions.at(current);
        s[Extra::LAUNCHED] = region.launched ? 1 : 0;
        s[Extra::SHADOW_VMCS] = (region.revision & SHADOW_INDICATOR) != 0 ? 1 : 0;
        for (const auto& [number, value] : region.fields) {
            s[find_encoding(number)->field] = value;
        }
    }
    return s;
}

Completion Operation::enter(const Request& r) {
    const RuleState state = entry_state(r);
    RuleSet broken = broken_rules(state, *profile_);
    bool own = false; // the instruction's own checks need no fields
    for (const RuleInfo& rule : all_rules()) {
        own = own || (rule.phase == Phase::INSTRUCTION && broken[static_cast<size_t>(rule.id)]);
    }
    Completion c;
    c.failures = failures_of(broken);
    if (!own) { // the rest is decided only by a VMCS all of whose fields were written
        for (const FieldInfo& field : vmcs_fields()) {
            const bool output = horos::vmx::type(field.field) == horos::vmx::FieldType::READ_ONLY;
            const bool written =
                regions[current].fields.contains(horos::vmx::encoding(field.field));
            if (field.needs.met(*profile_) && !output && !written) {
                c.status = Completion::OPEN;
                return c;
            }
        }
    }
    if (c.failures.allowed.empty()) {
        c.status = Completion::ENTERS;
        return c;
    }
    const Failure& first = c.failures.allowed.front();
    if (first.kind == FailureKind::ENTRY_FAILURE) {
        c.status = c.failures.may_enter ? Completion::OPEN : Completion::ENTRY_FAILURE;
    } else if (first.kind == FailureKind::VMFAIL_VALID) {
        const Failures all = c.failures;
        c = fail(first.error);
        c.failures = all;
        if (all.allowed.size() > 1) { // one of several errors
            regions[current].fields.erase(horos::vmx::encoding(Field::INSTRUCTION_ERROR));
        }
    } else {
        c.status = Completion::VMFAIL_INVALID;
    }
    return c;
}

// An exit leaves the VMCS launched, and writes the exit information and the guest-state area.
void Operation::left_guest(const Vmcs* saved) {
    Region& region = regions[current];
    region.launched = true;
    for (const FieldInfo& field : vmcs_fields()) {
        const auto type = horos::vmx::type(field.field);
        const bool written = type == horos::vmx::FieldType::READ_ONLY ||
                             type == horos::vmx::FieldType::GUEST ||
                             field.field == Field::ENTRY_INTERRUPTION_INFO;
        if (!written || field.field == Field::INSTRUCTION_ERROR) {
            continue;
        }
        if (saved != nullptr) {
            region.fields[horos::vmx::encoding(field.field)] = (*saved)[field.field];
        } else {
            region.fields.erase(horos::vmx::encoding(field.field));
        }
    }
}

Completion Operation::invept(const Request& r) {
    const bool single = r.operand == uint64_t(horos::vmx::InveptType::SINGLE_CONTEXT) &&
                        (profile_->ept_vpid & ept_cap::INVEPT_SINGLE) != 0;
    const bool all = r.operand == uint64_t(horos::vmx::InveptType::ALL) &&
                     (profile_->ept_vpid & ept_cap::INVEPT_ALL) != 0;
    if (!single && !all) {
        return fail(InstructionError::INVEPT_INVVPID_OPERAND);
    }
    if (r.value2 != 0) { // "must be zero", but no failure is described for it
        return just(Completion::OPEN);
    }
    if (!single) {
        return just(Completion::SUCCEED);
    }
    // It fails where an entry with this EPTP would.
    RuleState s = default_state(*profile_);
    s[Field::EPTP] = r.value;
    for (uint16_t id = uint16_t(RuleId::EPTP_MEMORY_TYPE); id <= uint16_t(RuleId::EPTP_RESERVED);
         ++id) {
        const auto rule = static_cast<RuleId>(id);
        if (rule_applies(rule, *profile_) && !rule_holds(rule, s, *profile_)) {
            return fail(InstructionError::INVEPT_INVVPID_OPERAND);
        }
    }
    return just(Completion::SUCCEED);
}

Completion Operation::invvpid(const Request& r) {
    constexpr uint64_t SUPPORT[] = {ept_cap::INVVPID_ADDRESS, ept_cap::INVVPID_SINGLE,
                                    ept_cap::INVVPID_ALL, ept_cap::INVVPID_SINGLE_KEEP_GLOBAL};
    const bool supported =
        r.operand < std::size(SUPPORT) && (profile_->ept_vpid & SUPPORT[r.operand & 3]) != 0;
    const bool reserved = (r.value >> 16) != 0;
    const bool needs_vpid = r.operand != uint64_t(horos::vmx::InvvpidType::ALL);
    const bool address = r.operand == uint64_t(horos::vmx::InvvpidType::ADDRESS);
    if (!supported || reserved || (needs_vpid && (r.value & 0xffff) == 0) ||
        (address && !canonical(r.value2, profile_->linear_bits))) {
        return fail(InstructionError::INVEPT_INVVPID_OPERAND);
    }
    return just(Completion::SUCCEED);
}

// Only what VMX operation adds to MOV to CR: the fixed bits (§23.8).
Completion Operation::move_control(const Request& r) {
    const bool is_cr0 = r.instruction == Instruction::MOV_CR0;
    const uint64_t must = is_cr0 ? profile_->cr0_fixed0 : profile_->cr4_fixed0;
    const uint64_t may = is_cr0 ? profile_->cr0_fixed1 : profile_->cr4_fixed1;
    if (vmx_operation && ((r.operand & must) != must || (r.operand & ~may) != 0)) {
        return just(Completion::GP);
    }
    (is_cr0 ? cpu.cr0 : cpu.cr4) = r.operand;
    return just(Completion::SUCCEED);
}

} // namespace horos::model::vmx
