// Cases of two VMRUNs: what the processor may have kept of the first, by the model's account of it.
#include "horos/defs/x86.hpp"
#include "horos/fuzz/oracle.hpp"
#include "horos/model/svm/fields.hpp"

#include <algorithm>
#include <cstring>

namespace horos::fuzz {

using horos::svm::TlbControl;
using horos::svm::Vmcb;
using namespace svm_model;

struct Oracle::Kept {
    std::string open; // why nothing can be said; empty: all is known
    Deviations deviated;
    std::vector<TlbEntry> tlb;
    Vmcb vmcb{};
};

namespace {

constexpr const char* OTHER_TABLES = "an earlier VMRUN with other tables than one leaf";

bool inWindow(uint64_t place, WindowId first, WindowId last) {
    unsigned window = 0;
    return place >= wire::ARENA_PA && windowIndex(place, &window) >= 0 &&
           window >= unsigned(first) && window <= unsigned(last);
}

// The edit of a table, if there is one. With several, or of an entry that one walk reads more than
// once, a translation could come of old and new entries together.
struct TableEdit {
    const char* open = nullptr;
    uint64_t place = 0; // 0: none
};
TableEdit tableEdit(const wire::CaseSlot& slot) {
    TableEdit found;
    for (uint64_t i = 0; i < slot.edits; ++i) {
        const uint64_t place = slot.edit[i].place;
        if (!inWindow(place, WindowId::Tables, WindowId::Directory32))
            continue;
        const uint64_t offset = place % 4096;
        const bool nested = inWindow(place, WindowId::Nested, WindowId::Nested);
        const bool ofTables = nested && offset >= 8 * page::TABLES && offset <= 8 * page::TABLES32;
        const bool leaf = offset >= 3 * 8 && inWindow(place, WindowId::Tables, WindowId::Tables32);
        if (!leaf || ofTables || found.place != 0)
            return {OTHER_TABLES, 0};
        found.place = place;
    }
    return found;
}

// The pages of the arena that lie behind that entry, by number.
std::vector<unsigned> numbersBehind(const Case& c, uint64_t place) {
    const auto index = unsigned(place % 4096 / 8);
    if (inWindow(place, WindowId::Tables, WindowId::Tables))
        return {index};
    if (inWindow(place, WindowId::Tables32, WindowId::Tables32))
        return {2 * index, 2 * index + 1};
    // A nested entry: what the guest maps to that page, and the page itself without guest paging.
    std::vector<unsigned> numbers = {index};
    constexpr uint64_t FRAME = 0xfffff000;
    for (unsigned i = 3; i < 16; ++i) {
        const uint64_t wide = c.peek(pageAddress(page::TABLES) + 8 * i);
        const uint64_t pair = c.peek(pageAddress(page::TABLES32) + 8 * (i / 2));
        const uint64_t narrow = pair >> (i % 2 ? 32 : 0);
        const bool maps =
            (wide & FRAME) == pageAddress(index) || (narrow & FRAME) == pageAddress(index);
        if (maps && i != index)
            numbers.push_back(i);
    }
    return numbers;
}

// Linear pages whose translation reads that entry: each page of the arena lies at its own address
// and, for guests with 16-bit addresses, at its number.
std::vector<uint64_t> pagesBehind(const Case& c, uint64_t place) {
    std::vector<uint64_t> pages;
    for (unsigned i : numbersBehind(c, place)) {
        pages.push_back(pageAddress(i));
        pages.push_back(4096ull * i);
    }
    return pages;
}

bool equal(const TlbEntry& a, const TlbEntry& b) {
    return a.asid == b.asid && a.linear == b.linear && a.address == b.address &&
           a.writable == b.writable && a.user == b.user && a.executable == b.executable &&
           a.dirty == b.dirty && a.global == b.global;
}

// Where both VMRUNs take their translations from. With another root or mode an entry of the TLB
// may come of a mixture.
bool sameWalks(const Vmcb& a, const Vmcb& b) {
    return a.save.cr0 == b.save.cr0 && a.save.cr3 == b.save.cr3 && a.save.cr4 == b.save.cr4 &&
           a.save.efer == b.save.efer && a.control.nested_cr3 == b.control.nested_cr3 &&
           a.control.nested_ctl == b.control.nested_ctl;
}

bool writesInWindows(const Outcome& outcome) {
    return outcome.memory_known &&
           std::all_of(outcome.writes.begin(), outcome.writes.end(), [](const MemoryWrite& w) {
               return w.address >= wire::ARENA_PA &&
                      w.address < wire::ARENA_PA + wire::ARENA_SIZE &&
                      windowIndex(w.address & ~7ull) >= 0;
           });
}

// Whether the model says all of what #VMEXIT stored and these clean bits may keep. What it does not
// know of segments is what no processor looks at.
bool savedWhole(const Outcome& outcome, uint32_t clean) {
    using horos::svm::CleanBit;
    constexpr std::pair<CleanBit, const char*> KEPT[] = {
        {CleanBit::CRX, "save.cr0"}, {CleanBit::CRX, "save.cr3"},  {CleanBit::CRX, "save.cr4"},
        {CleanBit::DRX, "save.dr6"}, {CleanBit::CRX, "save.efer"}, {CleanBit::DRX, "save.dr7"},
        {CleanBit::CR2, "save.cr2"}, {CleanBit::NP, "save.g_pat"}, {CleanBit::SEG, "save.cpl"}};
    return std::all_of(std::begin(KEPT), std::end(KEPT), [&](const auto& kept) {
        const FieldInfo& field = *find_field(kept.second);
        const uint8_t* known = &outcome.vmcb.known[field.offset];
        return (clean & bit(kept.first)) == 0 ||
               std::all_of(known, known + field.bytes, [](uint8_t bits) { return bits == 0xff; });
    });
}

std::string whyOpen(const Prediction& p, const Profile& profile, uint32_t clean) {
    const Outcome& outcome = p.allowed.front();
    if (p.allowed.size() == 1 && outcome.kind == OutcomeKind::UNSPECIFIED)
        return outcome.why; // it may be how the target dies
    if (p.allowed.size() != 1 || outcome.kind != OutcomeKind::EXIT)
        return "an earlier VMRUN that may end in several ways";
    if (!writesInWindows(outcome))
        return "an earlier VMRUN that writes outside the windows";
    if (profile.svm_feature(x86::cpuid::SVM_EDX_VMCB_CLEAN) && !savedWhole(outcome, clean))
        return "an earlier VMRUN that leaves fields of which the value is not known";
    return {};
}

} // namespace

Oracle::Kept Oracle::runEarlier(const Case& c, const Deviations& deviations) {
    Kept kept;
    const Case earlier = c.earlier();
    const Vmcb before = earlier.vmcb(), now = c.vmcb();
    const bool flushed = now.control.tlb_control == uint8_t(TlbControl::FLUSH_ALL);
    const TableEdit edit = tableEdit(c.slot);
    if (!flushed && edit.open != nullptr) {
        kept.open = edit.open;
        return kept;
    }
    if (!flushed && !sameWalks(before, now)) {
        kept.open = "an earlier VMRUN in another mode or with other roots";
        return kept;
    }
    place(earlier);
    Machine m = machine(earlier);
    m.deviations = deviations;
    const Prediction p = svm_model::predict(m);
    kept.deviated = p.deviated;
    kept.open = whyOpen(p, profile_, now.control.clean_bits);
    if (kept.open.empty()) {
        std::memcpy(&kept.vmcb, p.allowed.front().vmcb.value.data(), sizeof kept.vmcb);
        if (!flushed && edit.place != 0)
            kept.tlb = translations(m, pagesBehind(earlier, edit.place));
    }
    unplace(earlier);
    return kept;
}

void Oracle::withSecond(const Case& c, const Deviations& deviations,
                        const std::function<void(Machine&, const Kept&)>& use) {
    Kept kept = runEarlier(c, deviations);
    place(c);
    Machine m = machine(c);
    if (kept.open.empty()) {
        m.deviations = deviations;
        if (!kept.tlb.empty()) { // what the tables still say needs no entry
            const auto now = translations(m, pagesBehind(c, tableEdit(c.slot).place));
            std::erase_if(kept.tlb, [&](const TlbEntry& old) {
                return std::any_of(now.begin(), now.end(),
                                   [&](const TlbEntry& entry) { return equal(old, entry); });
            });
        }
        m.tlb = &kept.tlb;
        // What the known parts do besides: they keep no translation over a VMRUN.
        m.tlb_is_fresh = deviations.any();
        m.vmcb_cached = &kept.vmcb;
    }
    use(m, kept);
    unplace(c);
}

Prediction Oracle::predictSecond(const Case& c, const Deviations& deviations) {
    Prediction p;
    withSecond(c, deviations, [&](Machine& m, const Kept& kept) {
        if (kept.open.empty()) {
            p = ask(m, deviations);
        } else {
            Outcome open;
            open.kind = OutcomeKind::UNSPECIFIED;
            open.why = kept.open;
            open.memory_known = false;
            p.allowed.push_back(std::move(open));
        }
        p.deviated.behaviours |= kept.deviated.behaviours;
        p.deviated.unchecked |= kept.deviated.unchecked;
    });
    return p;
}

} // namespace horos::fuzz
