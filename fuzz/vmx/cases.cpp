#include "cases.hpp"

#include <algorithm>

namespace horos::fuzz::vmx {

namespace {

using F = Field;
using E = Extra;
using namespace horos::vmx;

bool legal(uint64_t address, uint64_t low, const Profile& p) {
    return (address & (~(p.physical_limit() - 1) | low)) == 0;
}
bool phase_clean(const RuleSet& broken, std::initializer_list<model::vmx::Phase> phases) {
    for (const auto& rule : model::vmx::all_rules()) {
        if (broken[size_t(rule.id)] && rule.strength == model::vmx::Strength::MUST &&
            std::find(phases.begin(), phases.end(), rule.phase) != phases.end()) {
            return false;
        }
    }
    return true;
}

void put_machine(RuleState& s, const HostValues& host) {
    s[E::CR0] = host.cr0;
    s[E::RFLAGS] = x86::rflags::ONE;
    s[E::EFER] = host.efer;
    s[E::CS_L] = 1;
    s[E::CPL] = 0;
    // These need a VMCLEAR, or leave nothing to launch.
    if (s[E::CURRENT_VMCS] == ~0ull || s[E::SHADOW_VMCS] != 0 || s[E::VMX_OPERATION] == 0) {
        s[E::LAUNCHED] = 0;
        s[E::VMRESUME] = 0;
    }
    if (s[E::CURRENT_VMCS] == ~0ull) { // then there is none that could be a shadow
        s[E::SHADOW_VMCS] = 0;
    }
    // "No current VMCS" keeps its meaning; otherwise it is one of the two.
    if (s[E::CURRENT_VMCS] != ~0ull) {
        const bool current = s[F::VMCS_LINK_POINTER] == s[E::CURRENT_VMCS];
        s[E::CURRENT_VMCS] = s[E::LAUNCHED] != 0 ? VMCS_LAUNCHED_PA : VMCS_CLEAR_PA;
        if (current) {
            s[F::VMCS_LINK_POINTER] = s[E::CURRENT_VMCS];
        }
    }
}

// Where legal addresses lead: pages that are there, with contents that the state says.
void put_addresses(RuleState& s, const Profile& p) {
    const auto page = [&](F field, uint64_t pa) {
        if (legal(s[field], 0xfff, p)) {
            s[field] = pa;
        }
    };
    for (F field :
         {F::IO_BITMAP_A, F::IO_BITMAP_B, F::MSR_BITMAP, F::VMREAD_BITMAP, F::VMWRITE_BITMAP}) {
        page(field, ZERO_PA);
    }
    for (F field : {F::PML_ADDRESS, F::EPTP_LIST_ADDRESS, F::SPP_TABLE_POINTER}) {
        page(field, LOG_PA);
    }
    page(F::VIRTUAL_APIC_ADDRESS, VAPIC_PA);
    page(F::APIC_ACCESS_ADDRESS, APIC_PA);
    page(F::VE_INFORMATION_ADDRESS, VE_PA);
    if (s[F::VMCS_LINK_POINTER] != s[E::CURRENT_VMCS]) {
        page(F::VMCS_LINK_POINTER, LINK_PA);
    }
    if (legal(s[F::EPTP], 0xf00, p)) {
        s[F::EPTP] = EPT_PML4_PA | (s[F::EPTP] & 0xfff);
    }
    const auto area = [&](F count, F address, uint64_t pa) {
        if (legal(s[address], 0xf, p) && legal(s[address] + s[count] * 16 - 1, 0, p)) {
            s[count] = std::min<uint64_t>(s[count], MSR_ENTRIES);
            s[address] = pa;
        }
    };
    area(F::ENTRY_MSR_LOAD_COUNT, F::ENTRY_MSR_LOAD_ADDRESS, MSR_LIST_PA);
    area(F::EXIT_MSR_LOAD_COUNT, F::EXIT_MSR_LOAD_ADDRESS, MSR_LIST_PA);
    area(F::EXIT_MSR_STORE_COUNT, F::EXIT_MSR_STORE_ADDRESS, MSR_STORE_PA);
    if (legal(s[F::GUEST_CR3], 0, p)) {
        const bool long_mode = (s[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0;
        const bool pae = (s[F::GUEST_CR4] & x86::cr4::PAE) != 0;
        s[F::GUEST_CR3] = long_mode ? GUEST_PML4_PA : pae ? PAE_PDPT_PA : GUEST_PD32_PA;
    }
}

// What the processor loads when it comes back must be the harness's.
void put_host_values(RuleState& s, const HostValues& host) {
    s[F::HOST_RIP] = host.rip;
    s[F::HOST_RSP] = host.rsp;
    s[F::HOST_CR0] = host.cr0;
    s[F::HOST_CR3] = host.cr3;
    s[F::HOST_CR4] = host.cr4;
    s[F::HOST_EFER] = host.efer;
    s[F::HOST_GDTR_BASE] = host.gdtr;
    s[F::HOST_IDTR_BASE] = host.idtr;
    s[F::HOST_TR_BASE] = host.tr_base;
    s[F::HOST_CS_SELECTOR] = 0x08;
    s[F::HOST_SS_SELECTOR] = 0x10;
    s[F::HOST_DS_SELECTOR] = 0x10;
    s[F::HOST_ES_SELECTOR] = 0x10;
    s[F::HOST_FS_SELECTOR] = 0;
    s[F::HOST_GS_SELECTOR] = 0;
    s[F::HOST_TR_SELECTOR] = 0x18;
    s[F::HOST_FS_BASE] = 0;
    s[F::HOST_GS_BASE] = 0;
}

// All but what broken rules on the host state read: an emulator that overlooks one shall survive
// it.
void put_host(RuleState& s, const RuleSet& broken, const HostValues& host) {
    model::vmx::InputSet kept;
    for (const auto& rule : model::vmx::all_rules()) {
        if (broken[size_t(rule.id)] && rule.phase == model::vmx::Phase::HOST) {
            kept |= rule.reads;
        }
    }
    const RuleState before = s;
    put_host_values(s, host);
    for (size_t i = 0; i < model::vmx::INPUTS; ++i) {
        if (kept[i]) {
            s.value[i] = before.value[i];
        }
    }
}

// A guest that enters must come back soon: it runs VMCALL, every exception exits, a timer runs.
void put_guest(RuleState& s, const Profile& p) {
    s[F::EXCEPTION_BITMAP] = 0xffffffff;
    s[F::PF_ERROR_CODE_MASK] = 0;
    s[F::PF_ERROR_CODE_MATCH] = 0;
    if (p.pin.can(pin::PREEMPTION_TIMER)) {
        s[F::PIN_CONTROLS] |= pin::PREEMPTION_TIMER;
        s[F::PREEMPTION_TIMER] = 100;
    }
    const bool code64 = (s[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0 &&
                        (s[F::GUEST_CS_RIGHTS] & rights::L) != 0;
    const uint64_t rip = code64 ? CODE_PA : CODE_PA - s[F::GUEST_CS_BASE];
    if (rip <= 0xffffffff) {
        s[F::GUEST_RIP] = rip;
    }
    // A guest that waits for a SIPI never comes back.
    if (s[F::GUEST_ACTIVITY] == uint64_t(Activity::WAIT_FOR_SIPI)) {
        s[F::GUEST_ACTIVITY] = 0;
    }
}

} // namespace

bool reachable(RuleId id) {
    switch (id) {
    case RuleId::INSN_MODE: // the harness is at CPL 0 in 64-bit mode
    case RuleId::INSN_CPL0:
    case RuleId::HOST_SS_NULL: // these speak of a host outside IA-32e mode
    case RuleId::HOST_SIZE_GUEST:
    case RuleId::HOST_PCIDE:
    case RuleId::HOST_RIP_HIGH:
        return false;
    default:
        return true;
    }
}

RuleState canonical(const RuleState& wanted, const Profile& p, const HostValues& host) {
    using model::vmx::Phase;
    RuleState s = wanted;
    put_machine(s, host);
    put_addresses(s, p);
    const RuleSet broken = model::vmx::broken_rules(s, p);
    put_host(s, broken, host);
    if (phase_clean(broken, {Phase::CONTROL, Phase::HOST, Phase::GUEST})) {
        put_guest(s, p);
    }
    return s;
}

RuleState canonical_guest(const RuleState& wanted, const Profile& p, const HostValues& host) {
    RuleState s = wanted;
    put_machine(s, host);
    put_addresses(s, p);
    put_host(s, model::vmx::broken_rules(s, p), host);
    if (s[F::GUEST_ACTIVITY] == uint64_t(Activity::WAIT_FOR_SIPI)) {
        s[F::GUEST_ACTIVITY] = 0;
    }
    return s;
}

std::string_view kind_name(Kind kind) {
    constexpr std::string_view NAMES[KINDS] = {"entry", "guest", "sequence"};
    return NAMES[size_t(kind)];
}

Case make_case(const Test& test) {
    const RuleState& s = test.state;
    Case c{};
    std::copy_n(s.value.begin(), model::vmx::FIELD_SLOTS, c.value);
    if (test.kind == Kind::SEQUENCE) {
        c.flags = FLAG_SEQUENCE;
        constexpr Operand NOTHING{uint16_t(model::vmx::Instruction::VMPTRST), 0, 0, 0, 0, 0};
        for (unsigned n = 0; n < OPERATIONS; ++n) {
            c.step[n] = n < test.steps.size() ? test.steps[n] : NOTHING;
        }
        return c;
    }
    for (unsigned n = 0; n < 4; ++n) {
        c.pdpte[n] = s[static_cast<E>(unsigned(E::PDPTE0) + n)];
    }
    c.vtpr = s[E::VTPR];
    c.link_revision = uint32_t(s[E::LINK_REVISION]);
    const auto flag = [&](bool on, Flag bit) { c.flags |= on ? bit : 0u; };
    flag(s[E::VMRESUME] != 0, FLAG_RESUME);
    flag(s[E::LAUNCHED] != 0, FLAG_LAUNCHED);
    flag(s[E::MOV_SS] != 0, FLAG_MOV_SS);
    flag(s[E::CURRENT_VMCS] == ~0ull, FLAG_NO_VMCS);
    flag(s[E::VMX_OPERATION] == 0, FLAG_VMXOFF);
    flag(s[E::SHADOW_VMCS] != 0, FLAG_SHADOW);
    flag((s[F::PROC_CONTROLS] & proc::USE_TPR_SHADOW) != 0, FLAG_VAPIC);
    if (test.kind == Kind::GUEST) {
        // What it writes to the APIC-access page, if that is not virtualised, is cleared too.
        flag(test.guest.gpr[3] >> 12 == APIC_PA >> 12, FLAG_VAPIC);
        c.flags |= FLAG_GUEST;
        c.guest = test.guest;
        c.twice = test.twice;
        flag(test.twice.edits != 0, FLAG_TWICE);
        const bool ept = (s[F::PROC_CONTROLS] & proc::ACTIVATE_SECONDARY) != 0 &&
                         (s[F::PROC_CONTROLS_2] & proc2::ENABLE_EPT) != 0;
        flag(!ept, FLAG_NO_EPT);
    }
    return c;
}

FieldLists field_lists(const Profile& p) {
    FieldLists lists;
    for (const auto& field : model::vmx::vmcs_fields()) {
        if (!model::vmx::field_exists(field.field, p)) {
            continue;
        }
        const auto slot = uint8_t(model::vmx::slot_of(field.field));
        const auto type = horos::vmx::type(field.field);
        if (type != FieldType::READ_ONLY) {
            lists.write.push_back(encoding(field.field));
            lists.write_slots.push_back(slot);
        }
        const bool entry_info = field.field == F::ENTRY_INTERRUPTION_INFO;
        if (type == FieldType::READ_ONLY || type == FieldType::GUEST || entry_info) {
            lists.read.push_back(encoding(field.field));
            lists.read_slots.push_back(slot);
        }
    }
    return lists;
}

RuleState mutate(const RuleState& from, const Profile& p, std::mt19937_64& random) {
    RuleState s = from;
    const auto below = [&](uint64_t n) { return random() % n; };
    static const uint64_t VALUES[] = {
        0,     1,      ~0ull,      0xffffffff, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
        0xfff, 0x1000, 1ull << 40, 1ull << 63};
    for (uint64_t n = 1 + below(4); n > 0; --n) {
        const auto& input = model::vmx::rule_inputs()[below(model::vmx::INPUTS)];
        if (input.bits == 0) {
            continue;
        }
        uint64_t& value = s.value[input.input];
        const uint64_t mask = input.bits >= 64 ? ~0ull : (1ull << input.bits) - 1;
        switch (below(4)) {
        case 0:
        case 1:
            value ^= 1ull << below(input.bits);
            break;
        case 2:
            value = VALUES[below(std::size(VALUES))] & mask;
            break;
        default:
            value = random() & mask;
        }
    }
    if (below(3) == 0) { // all but one mended
        const RuleSet broken = model::vmx::broken_rules(s, p);
        for (const auto& rule : model::vmx::all_rules()) {
            if (broken[size_t(rule.id)] && below(2) == 0) {
                return model::vmx::repair_except(s, p, rule.id);
            }
        }
    }
    return s;
}

} // namespace horos::fuzz::vmx
