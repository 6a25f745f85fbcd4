// Mutation near the boundary: few flips of a good state, or a bad state repaired but for one rule.
#include "horos/defs/x86.hpp"
#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/generator.hpp"
#include "horos/model/svm/fields.hpp"
#include "snippets.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace horos::fuzz {

using namespace svm_model;
using horos::svm::bit;
using horos::svm::Misc1;
using horos::svm::Vmcb;

namespace {

constexpr uint64_t INTERESTING[] = {0,
                                    1,
                                    2,
                                    0x7f,
                                    0x80,
                                    0xff,
                                    0x100,
                                    0xfff,
                                    0x1000,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    0x7fffffffffff,
                                    0x800000000000,
                                    0xffff800000000000,
                                    ~0ull};

// Fields of the transported ranges, those that VMRUN reads more often than the rest.
std::vector<const FieldInfo*> inputFields() {
    std::vector<const FieldInfo*> fields;
    for (const FieldInfo& field : vmcb_fields()) {
        bool carried = field.offset + field.bytes <= 8 * wire::CONTROL_QWORDS ||
                       (field.offset >= wire::SAVE_OFFSET &&
                        field.offset + field.bytes <= wire::SAVE_OFFSET + 8 * wire::SAVE_QWORDS);
        if (!carried || field.bytes > 8)
            continue;
        unsigned weight = field.use == FieldUse::IN || field.use == FieldUse::IN_OUT ? 8
                          : field.use == FieldUse::EXTRA                             ? 1
                          : field.use == FieldUse::OPTION                            ? 2
                                                                                     : 1;
        for (unsigned i = 0; i < weight; ++i)
            fields.push_back(&field);
    }
    return fields;
}

} // namespace

Case Generator::mutate(const Case& parent) {
    Case c = parent;
    if (c.slot.flags & wire::TWICE && random_.oneIn(2)) { // they cost two predictions
        c.slot.flags &= ~uint32_t{wire::TWICE};
        c.slot.edits = 0;
    }
    if (random_.oneIn(12))
        install(c, random_.pick(snippets()), random_);
    unsigned changes = 1 + unsigned(random_.below(3));
    for (unsigned i = 0; i < changes; ++i)
        mutateOnce(c);
    if (random_.oneIn(3))
        repairAlmost(c);
    if (random_.oneIn(c.slot.flags & wire::TWICE ? 4 : 24))
        makeTwice(c);
    return c;
}

// A second VMRUN: of a VMCB with clean bits set that has changed since, or through tables that
// have changed without a flush.
void Generator::makeTwice(Case& c) {
    wire::CaseSlot& slot = c.slot;
    if (slot.flags & ~uint32_t{wire::WITH_TWICE})
        return; // what such a case asks of the host is worth more
    slot.flags |= wire::TWICE;
    slot.edits = 0;
    std::fill(std::begin(slot.edit), std::end(slot.edit), wire::Edit{});
    Vmcb vmcb = c.vmcb();
    vmcb.control.tlb_control = random_.oneIn(6) ? 1 : 0;
    vmcb.control.clean_bits = random_.oneIn(3) ? 0x1fff : uint32_t(random_.below(0x2000));
    c.setVmcb(vmcb);
    if (random_.oneIn(2))
        editLeaf(c);
    else
        for (uint64_t left = 1 + random_.below(3); left > 0; --left)
            editVmcb(c);
}

// The page was mapped elsewhere, or permitted something else; or that is so now.
void Generator::editLeaf(Case& c) {
    const Vmcb vmcb = c.vmcb();
    const bool nested = vmcb.control.nested_ctl & 1 && random_.oneIn(2);
    const bool wide = nested || vmcb.save.cr4 & x86::cr4::PAE;
    constexpr unsigned PAGES[] = {page::CODE, page::DATA,   page::DATA,
                                  page::DATA, page::SYSTEM, page::SYSTEM32};
    const unsigned number = random_.pick(PAGES);
    const uint64_t table = pageAddress(nested ? page::NESTED
                                       : wide ? page::TABLES
                                              : page::TABLES32);
    const uint64_t place = table + (wide ? 8 * number : 4 * number / 8 * 8);
    const unsigned shift = wide || number % 2 == 0 ? 0 : 32;
    const uint64_t now = c.peek(place);
    constexpr unsigned FRAME = 12;
    const uint64_t other = random_.pick({page::SPARE, page::SPARE, page::DATA, page::CODE});
    const uint64_t changed = random_.oneIn(3) ? now ^ 1ull << (shift + random_.below(3))
                                              : now ^ (number ^ other) << (shift + FRAME);
    const bool swap = random_.oneIn(2);
    c.slot.edit[c.slot.edits++] = {place, swap ? now : changed};
    if (swap)
        c.poke(place, changed);
}

void Generator::editVmcb(Case& c) {
    static const std::vector<const FieldInfo*> FIELDS = inputFields();
    const FieldInfo& field = *FIELDS[random_.below(FIELDS.size())];
    const uint64_t place = field.offset & ~7u;
    uint64_t value = 0;
    const Vmcb vmcb = c.vmcb();
    std::memcpy(&value, reinterpret_cast<const uint8_t*>(&vmcb) + place, 8);
    const unsigned first = 8 * (field.offset % 8);
    value ^= 1ull << (first + random_.below(8u * field.bytes));
    if (isEditable(place) && c.slot.edits < wire::EDITS)
        c.slot.edit[c.slot.edits++] = {place, value};
}

void Generator::mutateOnce(Case& c) {
    try {
        switch (random_.below(16)) {
        case 0:
        case 1:
        case 2:
        case 3:
            mutateControl(c);
            break;
        case 4:
        case 5:
            mutateMemory(c);
            break;
        case 6:
        case 7:
            mutateEvent(c);
            break;
        case 8:
            mutateHost(c);
            break;
        case 9:
            c.slot.gpr[random_.below(16)] ^= 1ull << random_.below(64);
            break;
        default:
            mutateField(c);
            break;
        }
    } catch (const CaseError&) {
        return; // no room for another patch: leave it as it is
    }
}

void Generator::mutateField(Case& c) {
    static const std::vector<const FieldInfo*> FIELDS = inputFields();
    const FieldInfo& field = *FIELDS[random_.below(FIELDS.size())];
    Vmcb vmcb = c.vmcb();
    uint64_t value = read_field(vmcb, field);
    unsigned bits = 8u * field.bytes;
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    switch (random_.below(8)) {
    case 0:
        value = random_.pick(INTERESTING);
        break;
    case 1:
        value += 1;
        break;
    case 2:
        value -= 1;
        break;
    case 3:
        value = random_.next() & random_.next();
        break;
    case 4:
        value ^= 3ull << random_.below(bits);
        break;
    default:
        value ^= 1ull << random_.below(bits);
        break;
    }
    write_field(vmcb, field, value & mask);
    c.setVmcb(vmcb);
}

// Intercepts, virtual interrupts, shadows and the other switches of the control area.
void Generator::mutateControl(Case& c) {
    Vmcb vmcb = c.vmcb();
    auto& control = vmcb.control;
    switch (random_.below(14)) {
    case 0:
        control.intercept_cr ^= 1u << random_.below(32);
        break;
    case 1:
        control.intercept_dr ^= 1u << random_.below(32);
        break;
    case 2:
        control.intercept_exceptions ^= 1u << random_.below(32);
        break;
    case 3:
        control.intercept_exceptions = random_.oneIn(2) ? ~0u : 0;
        break;
    case 4:
    case 5:
        control.intercept_misc1 ^= 1u << random_.below(31);
        break;
    case 6:
        control.intercept_misc2 ^= 1u << random_.below(32);
        break;
    case 7:
        control.intercept_misc1 =
            (random_.oneIn(2) ? ~0u : 0) | bit(Misc1::SHUTDOWN) | bit(Misc1::HLT);
        break;
    case 8:
        control.intercept_misc2 = (random_.oneIn(2) ? 0xffffu : 0) | 3;
        break;
    case 9:
        control.int_ctl = uint32_t(random_.below(16)) | uint32_t(random_.below(2)) << 8 |
                          uint32_t(random_.below(16)) << 16 | uint32_t(random_.below(2)) << 20 |
                          uint32_t(random_.below(2)) << 24;
        control.v_intr_vector = uint8_t(0x20 + random_.below(0xe0));
        break;
    case 10:
        control.int_state ^= 1;
        break;
    case 11:
        vmcb.save.rflags ^= 1ull << random_.pick({8, 9, 9, 9, 12, 13, 14, 16, 18, 19, 20});
        break;
    case 12:
        vmcb.save.cr0 ^= 1ull << random_.pick({1, 2, 3, 5, 16, 18, 29, 30});
        break;
    default:
        vmcb.save.cr4 ^= 1ull << random_.below(24);
        break;
    }
    c.setVmcb(vmcb);
}

// Page-table entries, descriptors, the stack: the windows' words, a bit or two at a time.
void Generator::mutateMemory(Case& c) {
    unsigned window = unsigned(random_.below(WINDOW_COUNT));
    const wire::Window& place = windows()[window].place;
    unsigned index = unsigned(random_.below(std::min(place.qwords, 12u)));
    uint64_t address = place.address + 8 * index;
    uint64_t value = c.peek(address);
    constexpr int ENTRY_BITS[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 51, 52, 62, 63};
    if (window <= unsigned(WindowId::Nested) && !random_.oneIn(4))
        value ^= 1ull << random_.pick(ENTRY_BITS);
    else if (window == unsigned(WindowId::Tables32) || window == unsigned(WindowId::Directory32))
        value ^= 1ull << (random_.below(9) + (random_.oneIn(2) ? 32 : 0));
    else
        value ^= 1ull << random_.below(64);
    c.poke(address, value);
}

void Generator::mutateEvent(Case& c) {
    Vmcb vmcb = c.vmcb();
    constexpr uint64_t TYPES[] = {0, 0, 2, 2, 3, 3, 3, 3, 4, 4, 1, 5, 6, 7};
    uint64_t type = random_.pick(TYPES);
    uint64_t vector = type == 3          ? random_.below(random_.oneIn(8) ? 256 : 32)
                      : random_.oneIn(3) ? random_.below(256)
                                         : 0x20 + random_.below(96);
    if (type == 2)
        vector = random_.oneIn(4) ? random_.below(32) : 2;
    constexpr uint32_t WITH_ERROR = 0x60227d00;
    bool error = type == 3 && vector < 32 && (WITH_ERROR >> vector & 1);
    if (random_.oneIn(16))
        error = !error;
    vmcb.control.event_inj = vector | type << 8 | uint64_t{error} << 11 |
                             uint64_t{!random_.oneIn(10)} << 31 |
                             (error ? random_.below(0x40) << 32 : 0);
    if (random_.oneIn(16))
        vmcb.control.event_inj ^= 1ull << random_.below(64);
    if (random_.oneIn(4))
        vmcb.control.event_inj = 0;
    c.setVmcb(vmcb);
}

// Things around VMRUN.
void Generator::mutateHost(Case& c) {
    switch (random_.below(8)) {
    case 0:
        c.slot.flags ^= wire::PEND_NMI;
        break;
    case 1:
        c.slot.flags ^= wire::PEND_INTR;
        break;
    case 2:
    case 3:
        c.slot.flags ^= wire::HOST_IF;
        break;
    case 4:
        c.slot.flags ^= wire::VMLOAD;
        break;
    case 5:
        c.slot.flags |= wire::DEBUG_REGS;
        c.slot.dr[random_.below(4)] = random_.oneIn(2) ? CODE_ADDRESS : DATA_ADDRESS;
        c.slot.save[offsetof(horos::svm::SaveArea, dr7) / 8] ^= 1ull << random_.below(32);
        break;
    default:
        c.slot.gpr[random_.below(16)] = random_.pick(INTERESTING);
        break;
    }
}

// Mends every rule but one of those that are broken, so that one check decides.
void Generator::repairAlmost(Case& c) {
    RuleState state = oracle_.ruleState(c);
    Params params(oracle_.profile());
    RuleSet broken = broken_rules(state, params);
    if (broken.none())
        return;
    unsigned chosen = unsigned(random_.below(broken.count() + 1));
    RuleState mended = state;
    if (chosen == broken.count()) {
        mended = repair(state, params);
    } else {
        for (size_t rule = 0; rule < broken.size(); ++rule)
            if (broken.test(rule) && chosen-- == 0)
                mended = repair_except(state, params, RuleId(rule));
    }
    Case copy = c;
    if (applyRuleState(state, mended, copy))
        c = copy;
}

} // namespace horos::fuzz
