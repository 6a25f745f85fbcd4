#include "horos/fuzz/case.hpp"

#include "horos/fuzz/arena.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

namespace horos::fuzz {

using horos::svm::Vmcb;

namespace {

constexpr std::array<uint8_t, 4> FILE_MAGIC = {'H', 'F', 'Z', 'C'};
constexpr uint8_t FILE_VERSION = 1;
// What identifies a case: everything but the slot's id and its reserved words.
constexpr size_t SLOT_WORDS = sizeof(wire::CaseSlot) / 8;

bool isContent(size_t word) { return word != 0 && word != 6 && word != 7; }

const uint64_t* original(unsigned window) {
    return &arenaTemplate()[(windows()[window].place.address - wire::ARENA_PA) / 8];
}

struct Words {
    std::array<uint64_t, SLOT_WORDS> word{};
};

Words wordsOf(const wire::CaseSlot& slot) {
    wire::CaseSlot copy = slot;
    copy.id = 0;
    copy.reserved[0] = copy.reserved[1] = 0;
    copy.flags &= ~uint32_t{wire::FRESH_CODE}; // a matter of what ran before
    // a window that is as in the template is not part of the content
    copy.windows = changedWindows(slot);
    for (unsigned i = 0; i < WINDOW_COUNT; ++i)
        if (!(copy.windows >> i & 1))
            std::memset(copy.window + windows()[i].place.offset, 0, 8 * windows()[i].place.qwords);
    for (uint32_t i = copy.patches; i < wire::PATCHES; ++i)
        copy.patch[i] = {};
    for (uint64_t i = copy.edits; i < wire::EDITS; ++i)
        copy.edit[i] = {};
    Words words;
    std::memcpy(words.word.data(), &copy, sizeof copy);
    return words;
}

void fillWindows(wire::CaseSlot& slot) {
    for (unsigned i = 0; i < WINDOW_COUNT; ++i)
        if (!(slot.windows >> i & 1))
            std::memcpy(slot.window + windows()[i].place.offset, original(i),
                        8 * windows()[i].place.qwords);
}

void putVarint(std::vector<uint8_t>& out, uint64_t value) {
    while (value >= 0x80) {
        out.push_back(uint8_t(value) | 0x80);
        value >>= 7;
    }
    out.push_back(uint8_t(value));
}

uint64_t takeVarint(std::span<const uint8_t>& in) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in.empty())
            throw CaseError("the case file ends inside a number");
        uint8_t byte = in.front();
        in = in.subspan(1);
        value |= uint64_t(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    throw CaseError("a number in the case file is longer than 64 bits");
}

uint64_t mix(uint64_t hash, uint64_t value) {
    hash ^= value;
    hash *= 0x9fb21c651e98df25ull;
    return hash ^ hash >> 29;
}

} // namespace

uint32_t changedWindows(const wire::CaseSlot& slot) {
    uint32_t changed = 0;
    for (unsigned i = 0; i < WINDOW_COUNT; ++i) {
        const wire::Window& place = windows()[i].place;
        if (std::memcmp(slot.window + place.offset, original(i), 8 * place.qwords) != 0)
            changed |= 1u << i;
    }
    return changed;
}

Vmcb Case::vmcb() const {
    Vmcb v{};
    std::memcpy(&v, slot.control, sizeof slot.control);
    std::memcpy(reinterpret_cast<uint8_t*>(&v) + wire::SAVE_OFFSET, slot.save, sizeof slot.save);
    return v;
}

void Case::setVmcb(const Vmcb& v) {
    std::memcpy(slot.control, &v, sizeof slot.control);
    std::memcpy(slot.save, reinterpret_cast<const uint8_t*>(&v) + wire::SAVE_OFFSET,
                sizeof slot.save);
}

std::span<const uint8_t> Case::code() const {
    return {reinterpret_cast<const uint8_t*>(slot.code), 8ull * slot.codeQwords};
}

void Case::setCode(std::span<const uint8_t> bytes) {
    if (bytes.size() > sizeof slot.code)
        throw CaseError(
            fmt::format("guest code of {} bytes: at most {} fit", bytes.size(), sizeof slot.code));
    std::memset(slot.code, 0, sizeof slot.code);
    slot.codeQwords = std::max<uint32_t>(1, uint32_t((bytes.size() + 7) / 8));
    std::memset(slot.code, 0xf4, 8ull * slot.codeQwords);
    std::memcpy(slot.code, bytes.data(), bytes.size());
}

uint64_t Case::peek(uint64_t address) const {
    if (int index = windowIndex(address); index >= 0)
        return slot.window[index];
    for (uint32_t i = 0; i < slot.patches; ++i)
        if (slot.patch[i].address == address)
            return slot.patch[i].value;
    return arenaTemplate().at((address - wire::ARENA_PA) / 8);
}

void Case::poke(uint64_t address, uint64_t value) {
    if (address % 8 || address < wire::ARENA_PA || address >= wire::ARENA_PA + wire::ARENA_SIZE)
        throw CaseError(fmt::format("address {:#x} is not a quadword of the arena", address));
    unsigned window = 0;
    if (int index = windowIndex(address, &window); index >= 0) {
        slot.window[index] = value;
        slot.windows |= 1u << window;
        return;
    }
    for (uint32_t i = 0; i < slot.patches; ++i)
        if (slot.patch[i].address == address) {
            slot.patch[i].value = value;
            return;
        }
    if (slot.patches == wire::PATCHES)
        throw CaseError(
            fmt::format("more than {} words changed outside the windows", wire::PATCHES));
    slot.patch[slot.patches++] = {address, value, arenaTemplate()[(address - wire::ARENA_PA) / 8]};
}

bool isEditable(uint64_t place) {
    const bool control = place < 8 * wire::CONTROL_QWORDS;
    const bool save =
        place >= wire::SAVE_OFFSET && place < wire::SAVE_OFFSET + 8 * wire::SAVE_QWORDS;
    const bool memory = place >= wire::ARENA_PA && place < wire::ARENA_PA + wire::ARENA_SIZE &&
                        windowIndex(place) >= 0;
    return place % 8 == 0 && (control || save || memory);
}

Case Case::earlier() const {
    using horos::svm::ControlArea;
    Case c = *this;
    c.slot.flags &= ~uint32_t{wire::TWICE};
    c.slot.edits = 0;
    for (uint64_t i = 0; i < slot.edits; ++i) {
        const auto [place, value] = slot.edit[i];
        if (place < 8 * wire::CONTROL_QWORDS)
            c.slot.control[place / 8] = value;
        else if (place < wire::SLOT_SIZE)
            c.slot.save[(place - wire::SAVE_OFFSET) / 8] = value;
        else
            c.poke(place, value);
    }
    Vmcb v = c.vmcb();
    v.control.clean_bits = 0;
    v.control.tlb_control = uint8_t(horos::svm::TlbControl::FLUSH_ALL);
    v.control.event_inj = 0;
    c.setVmcb(v);
    std::memset(c.slot.edit, 0, sizeof c.slot.edit);
    return c;
}

std::vector<uint8_t> encode(const Case& c) {
    std::vector<uint8_t> out(FILE_MAGIC.begin(), FILE_MAGIC.end());
    out.push_back(FILE_VERSION);
    const Words words = wordsOf(c.slot);
    size_t last = 0;
    for (size_t i = 0; i < SLOT_WORDS; ++i) {
        if (!isContent(i) || words.word[i] == 0)
            continue;
        putVarint(out, i - last);
        last = i;
        putVarint(out, words.word[i]);
    }
    return out;
}

Case decode(std::span<const uint8_t> bytes) {
    if (bytes.size() < 5 || !std::equal(FILE_MAGIC.begin(), FILE_MAGIC.end(), bytes.begin()))
        throw CaseError("not a case file: it does not begin with HFZC");
    if (bytes[4] != FILE_VERSION)
        throw CaseError(fmt::format("case file version {}: this program reads version {}", bytes[4],
                                    FILE_VERSION));
    bytes = bytes.subspan(5);
    Words words;
    uint64_t at = 0;
    while (!bytes.empty()) {
        uint64_t step = takeVarint(bytes);
        uint64_t value = takeVarint(bytes);
        if (step >= SLOT_WORDS || at + step >= SLOT_WORDS)
            throw CaseError("the case file names a word outside the case");
        at += step;
        if (isContent(at))
            words.word[at] = value;
    }
    Case c;
    std::memcpy(static_cast<void*>(&c.slot), words.word.data(), sizeof c.slot);
    fillWindows(c.slot);
    validate(c);
    return c;
}

std::string contentName(const Case& c) {
    uint64_t a = 0x243f6a8885a308d3, b = 0x13198a2e03707344;
    const Words words = wordsOf(c.slot);
    for (size_t i = 0; i < SLOT_WORDS; ++i) {
        if (!isContent(i) || words.word[i] == 0)
            continue;
        a = mix(mix(a, i), words.word[i]);
        b = mix(mix(b, words.word[i] + 0x9e3779b97f4a7c15), i);
    }
    return fmt::format("{:016x}{:016x}", a, b);
}

namespace {
void validateEdits(const wire::CaseSlot& s) {
    if (s.edits > wire::EDITS)
        throw CaseError(fmt::format("{} edits: at most {}", s.edits, wire::EDITS));
    if (s.edits != 0 && !(s.flags & wire::TWICE))
        throw CaseError("edits without an earlier VMRUN");
    constexpr uint32_t NOT_TOGETHER = ~uint32_t{wire::WITH_TWICE};
    if (s.flags & wire::TWICE && s.flags & NOT_TOGETHER)
        throw CaseError(fmt::format("flags {:#x} are not for cases with an earlier VMRUN",
                                    s.flags & NOT_TOGETHER));
    for (uint64_t i = 0; i < s.edits; ++i)
        if (!isEditable(s.edit[i].place))
            throw CaseError(fmt::format("edit {} at {:#x} is neither in the VMCB nor in a window",
                                        i, s.edit[i].place));
}
} // namespace

void validate(const Case& c) {
    const wire::CaseSlot& s = c.slot;
    if (s.flags & ~uint32_t{wire::FLAGS_KNOWN})
        throw CaseError(fmt::format("unknown flags {:#x}", s.flags & ~wire::FLAGS_KNOWN));
    if (s.windows >> WINDOW_COUNT)
        throw CaseError(fmt::format("unknown windows {:#x}", s.windows));
    if (s.codeQwords > wire::CODE_QWORDS)
        throw CaseError(
            fmt::format("{} quadwords of code: at most {}", s.codeQwords, wire::CODE_QWORDS));
    if (s.codeAddress != CODE_ADDRESS)
        throw CaseError(
            fmt::format("code at {:#x}: it must be at {:#x}", s.codeAddress, CODE_ADDRESS));
    if (s.patches > wire::PATCHES)
        throw CaseError(fmt::format("{} patches: at most {}", s.patches, wire::PATCHES));
    for (uint32_t i = 0; i < s.patches; ++i) {
        uint64_t address = s.patch[i].address;
        if (address % 8 || address < wire::ARENA_PA || address >= wire::ARENA_PA + wire::ARENA_SIZE)
            throw CaseError(
                fmt::format("patch {} at {:#x} is not a quadword of the arena", i, address));
        if (windowIndex(address) >= 0)
            throw CaseError(fmt::format("patch {} at {:#x} is inside a window", i, address));
        if (s.patch[i].before != arenaTemplate()[(address - wire::ARENA_PA) / 8])
            throw CaseError(fmt::format("patch {} does not put the template back", i));
    }
    validateEdits(s);
}

} // namespace horos::fuzz
