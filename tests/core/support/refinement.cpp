#include "refinement.hpp"
#include "kernel/core/entry.hpp"
#include "spec/calls.hpp"
#include "spec/preconditions.hpp"
#include "state_memory.hpp"
#include "violation.hpp"

#include <cstring>
#include <sstream>

namespace horos::test {

namespace {

struct Globals {
    std::vector<Core> cores;
    std::array<u32, 256> irqs{};
    std::array<Values, max_cores> results{};
    FakeShell shell;

    void save() {
        cores.assign(core::cores, core::cores + machine.core_count);
        std::memcpy(irqs.data(), irq_of_vector, sizeof irq_of_vector);
        std::memcpy(results.data(), core::results, sizeof core::results);
        shell = test::shell;
    }
    void restore() const {
        std::memcpy(core::cores, cores.data(), sizeof(Core) * cores.size());
        std::memcpy(irq_of_vector, irqs.data(), sizeof irq_of_vector);
        std::memcpy(core::results, results.data(), sizeof core::results);
        test::shell = shell;
    }
};

// Index of the first different byte of two ranges, or `size`.
u64 first_difference(const void* a, const void* b, u64 size) {
    const auto* x = static_cast<const u8*>(a);
    const auto* y = static_cast<const u8*>(b);
    u64 i = 0;
    while (i < size && x[i] == y[i])
        ++i;
    return i;
}

std::string hex_word(const u8* p) {
    u64 w = 0;
    std::memcpy(&w, p, 8);
    std::ostringstream text;
    text << "0x" << std::hex << w;
    return text.str();
}

// Which row of which table a byte of memory is.
std::string place(const u8* page, u64 offset) {
    JournalPage at{page, {}};
    std::ostringstream text;
    if (const Frame f = journal_frame(at); f != 0) {
        text << "memory of frame " << f << " (type " << u32{static_cast<u8>(frames[f].type)}
             << ") at byte " << offset;
        return text.str();
    }
    const u8* byte = page + offset;
    const bool is_block = page >= reinterpret_cast<const u8*>(blocks) - frame_size;
    const u64 from = static_cast<u64>(
        byte - (is_block ? reinterpret_cast<const u8*>(blocks) : reinterpret_cast<u8*>(frames)));
    text << (is_block ? "blocks[" : "frames[") << from / 16 << "] at byte " << from % 16;
    return text.str();
}

} // namespace

void Prediction::differ(const std::string& what) const {
    throw Violation(name_ + " is not what spec/ says: " + what);
}

void Prediction::make(u32 core, u64 number, const std::array<u64, 6>& a) {
    const bool known = number < call_count;
    name_ = known ? call_table[number].name : "unknown call";
    documented_ = known ? spec::documented_errors[number] : spec::bit(1);
    if (!spec::pre_hypercall(core))
        differ("the core was entered in a state that the shell promises not to be in");
    run(core, [&] {
        return known ? spec::spec_table[number](a[0], a[1], a[2], a[3], a[4], a[5])
                     : static_cast<u64>(Error::bad_call);
    });
}

void Prediction::make_event(u32 core, const char* name, const std::function<u64()>& specified) {
    name_ = name;
    documented_ = ~u64{0};
    run(core, specified);
}

void Prediction::run(u32 core, const std::function<u64()>& specified) {
    core_ = core;
    journal_begin(); // a step begins
    Globals before;
    before.save();
    shell.events.clear();
    try {
        run_guarded([&] { result_ = specified(); });
    } catch (const Violation& v) {
        differ(std::string("spec/ itself: ") + v.what());
    }
    cores_.assign(cores, cores + machine.core_count);
    std::memcpy(irqs_.data(), irq_of_vector, sizeof irq_of_vector);
    values_ = results[core];
    shell_events_ = shell.events;
    take_back();
    before.restore();
    shell.events.clear();
}

void Prediction::take_back() {
    for (const JournalPage* p : journal_pages()) {
        auto page = std::make_unique<Page>();
        page->page = p->page;
        std::memcpy(page->content.data(), p->page, frame_size);
        std::memcpy(const_cast<u8*>(p->page), p->before, frame_size);
        pages_.push_back(std::move(page));
    }
    journal_begin();
}

void Prediction::compare_page(const u8* page, const u8* expected) const {
    const u64 at = first_difference(page, expected, frame_size);
    if (at == frame_size)
        return;
    const u64 word = at & ~u64{7};
    differ(place(page, at) + " became " + hex_word(page + word) + ", should be " +
           hex_word(expected + word));
}

void Prediction::compare_state() const {
    for (const auto& p : pages_)
        compare_page(p->page, p->content.data());
    for (const JournalPage* p : journal_pages()) {
        bool known = false;
        for (const auto& q : pages_)
            known = known || q->page == p->page;
        if (!known)
            compare_page(p->page, p->before); // not in the call's footprint
    }
    for (u32 c = 0; c < machine.core_count; ++c) {
        const u64 at = first_difference(&cores[c], &cores_[c], sizeof(Core));
        if (at != sizeof(Core))
            differ("state of core " + std::to_string(c) + " at byte " + std::to_string(at));
    }
    if (std::memcmp(irqs_.data(), irq_of_vector, sizeof irq_of_vector) != 0)
        differ("the interrupt table");
    if (shell.events != shell_events_) {
        std::string text = "effects {";
        for (const auto& e : shell.events)
            text += e + "; ";
        text += "}, should be {";
        for (const auto& e : shell_events_)
            text += e + "; ";
        differ(text + "}");
    }
}

void Prediction::compare(u64 result) {
    if (compared_)
        return; // at the guest's entry; what followed were other steps
    compared_ = true;
    if (result != result_) {
        std::ostringstream text;
        text << std::hex << "the result word is 0x" << result << ", should be 0x" << result_;
        differ(text.str());
    }
    if ((result & result_values) != 0 &&
        std::memcmp(&results[core_], &values_, sizeof(Values)) != 0)
        differ("the values " + hex_word(reinterpret_cast<const u8*>(&results[core_])) +
               ", ... should be " + hex_word(reinterpret_cast<const u8*>(&values_)) + ", ...");
    compare_state();
    const bool answers = (result & (result_switch | spec::result_enters_guest)) == 0;
    const u64 error = result & result_error;
    if (answers && !spec::has(documented_, static_cast<u32>(error)))
        differ(std::string("the manual does not name the answer ") +
               name_of(static_cast<Error>(error)));
}

void Prediction::compare_at_entry() {
    if (!compared_)
        compare(spec::result_enters_guest);
}

} // namespace horos::test
