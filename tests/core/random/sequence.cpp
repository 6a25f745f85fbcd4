#include "kernel/core/frames.hpp"
#include "step.hpp"
#include "support/check.hpp"
#include "support/transitions.hpp"
#include "support/violation.hpp"

#include <sstream>

namespace horos::test {

Statistics statistics;

namespace {

// Calls that end or block a thread, or take much of the scenario apart, come less often.
u32 weight(Call call) {
    switch (call) {
    case Call::null:
        return 1;
    case Call::thread_exit:
    case Call::cap_revoke:
    case Call::block_reclaim:
    case Call::block_split:
    case Call::platform_control:
        return 2;
    case Call::thread_stop:
    case Call::domain_create:
    case Call::core_schedule:
    case Call::block_give:
        return 4;
    case Call::thread_start:
    case Call::thread_resume:
        return 24;
    case Call::signal:
        return 20;
    case Call::call:
    case Call::reply_receive:
    case Call::vcpu_run:
        return 16;
    case Call::frame_reclaim:
        return 24;
    case Call::table_map:
    case Call::sc_create:
    case Call::sc_bind:
    case Call::reply:
    case Call::receive:
    case Call::wait:
        return 10;
    default:
        return 6;
    }
}

Call draw_call(Draw& d) {
    static const u32 total = [] {
        u32 sum = 0;
        for (u32 i = 0; i < call_count; ++i)
            sum += weight(static_cast<Call>(i));
        return sum;
    }();
    u32 left = d.below(total);
    for (u32 i = 0; i < call_count; ++i) {
        if (left < weight(static_cast<Call>(i)))
            return static_cast<Call>(i);
        left -= weight(static_cast<Call>(i));
    }
    return Call::null;
}

// Root's two threads, one on each core, do not block for ever: somebody must restart the others.
bool is_keeper(Frame thread) { return threads[thread].domain == root_first_frame; }

bool blocks(Call call) {
    return call == Call::thread_exit || call == Call::call || call == Call::receive ||
           call == Call::reply_receive;
}

class Sequence {
public:
    Sequence(const std::vector<Step>& steps, std::vector<std::string>& log)
        : steps_(steps), log_(log) {}

    void run();

private:
    const std::vector<Step>& steps_;
    std::vector<std::string>& log_;
    Scenario scenario_;
    size_t next_ = 0;
    Draw guest_draw_{0};

    const Step& take_step();
    void run_step(const Step& step);
    void hypercall(u32 core, Draw& d);
    void event(u32 core, Draw& d);
    bool interrupt(u32 core, Draw& d);
    void pass_time(Draw& d);
    void be_guest(u32 core, svm::Vmcb& b);
    void take_interrupt(u32 core);
    void finish(const std::string& what);
};

Sequence* current;
size_t used;

void Sequence::finish(const std::string& what) {
    log_.push_back(what);
    statistics.steps++;
    check_invariants();
}

void Sequence::hypercall(u32 core, Draw& d) {
    const Frame thread = cores[core].thread;
    Call call = draw_call(d);
    const bool serves = threads[thread].running_on != threads[thread].sc;
    if (serves && d.one_in(3))
        call = d.one_in(2) ? Call::reply : Call::reply_receive;
    if (is_keeper(thread) && blocks(call) && !d.one_in(30))
        call = Call::thread_start;
    const Registers6 a = draw_arguments(d, call, thread);
    if (call == Call::vcpu_run && frame_exists(static_cast<Frame>(a[0]))) {
        CapSlot cap{};
        const Frame table = domains[threads[thread].domain].tables[0];
        cap = cap_tables[table].slots[a[0] % slots_per_table];
        if (cap.type == ObjectType::vcpu && frame_exists(cap.object) &&
            frames[cap.object].type == ObjectType::vcpu) {
            journal_begin();
            draw_state_page(d, cap.object);
        }
    }
    std::ostringstream text;
    text << "core " << core << " thread " << thread << ": "
         << call_table[static_cast<u32>(call)].name << '(' << std::hex;
    for (u32 i = 0; i < 6; ++i)
        text << (i != 0 ? ", 0x" : "0x") << a[i];
    text << ')';
    log_.push_back(text.str() + " ...");
    const size_t line = log_.size() - 1;
    const Outcome out = scenario_.s.call(core, call, a);
    const char* answer = out.known ? name_of(out.error) : "blocks";
    log_[line] = text.str() + " = " + answer;
    statistics.calls++;
    statistics.successes += out.ok() || !out.known;
    statistics.answers[call][answer]++;
    statistics.steps++;
    check_invariants();
}

void Sequence::pass_time(Draw& d) { shell.now += d.one_in(16) ? d.below(60'000) : d.below(300); }

// A device interrupt that can arrive at this core.
bool Sequence::interrupt(u32 core, Draw& d) {
    const u32 from = d.below(256);
    for (u32 i = 0; i < 256; ++i) {
        const u32 vector = (from + i) % 256;
        const Frame f = irq_of_vector[vector];
        if (f == 0 || interrupts[f].core != core)
            continue;
        if (interrupts[f].is_message == 0 && shell.line_masked[interrupts[f].gsi])
            continue;
        scenario_.s.interrupt(core, static_cast<u8>(vector));
        finish("core " + std::to_string(core) + ": interrupt " + std::to_string(vector));
        return true;
    }
    return false;
}

void Sequence::event(u32 core, Draw& d) {
    ShellCore& here = shell.cores[core];
    const std::string who = "core " + std::to_string(core) + ": ";
    statistics.events++;
    if (here.reschedule && !d.one_in(3)) {
        scenario_.s.reschedule(core);
        return finish(who + "told to reschedule");
    }
    if (here.timer <= shell.now || (here.mode == CoreMode::idle && here.timer != no_deadline)) {
        shell.now = std::max(shell.now, here.timer);
        scenario_.s.timer(core);
        return finish(who + "timer at " + std::to_string(shell.now));
    }
    if (d.one_in(8) && here.mode == CoreMode::user && !is_keeper(cores[core].thread)) {
        scenario_.s.fault(core, d.below(32), 0, d.word());
        return finish(who + "fault");
    }
    if (interrupt(core, d))
        return;
    if (here.reschedule) {
        scenario_.s.reschedule(core);
        return finish(who + "told to reschedule");
    }
    statistics.idle++;
}

const Step& Sequence::take_step() {
    used = next_ + 1;
    return steps_[next_++];
}

void Sequence::run_step(const Step& step) {
    Draw d(step.seed);
    const u32 core = step.core % machine.core_count;
    pass_time(d);
    journal_begin();
    remember_state();
    if (Simulation::is_user(core) && !d.one_in(6))
        hypercall(core, d);
    else
        event(core, d);
}

// EXITINTINFO as a processor reports it (§15.7.2): an event that can occur in any mode, or nothing.
static u64 interrupted_event(Draw& d) {
    constexpr u64 exceptions[] = {0, 1, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 30};
    const u64 events[] = {d.below(256), 2u << 8 | 2, 3u << 8 | exceptions[d.below(16)],
                          4u << 8 | d.below(256), d.word() & ~event::valid};
    const u32 which = d.below(5);
    const u64 error_code = d.one_in(2) ? u64{d.below(1u << 16)} << 32 | 1u << 11 : 0;
    return which == 4 ? events[4] : events[which] | event::valid | error_code;
}

// While the guest runs the lock is free, and other cores go on.
void Sequence::be_guest(u32 core, svm::Vmcb& b) {
    journal_begin();
    check_invariants();
    while (next_ < steps_.size() && steps_[next_].core % machine.core_count != core &&
           shell.cores[1 - core].mode != CoreMode::guest)
        run_step(take_step());
    Draw d(next_ < steps_.size() ? take_step().seed : 1);
    const u64 codes[] = {0x60,
                         0x60,
                         0x72,
                         0x7b,
                         0x7c,
                         0x400,
                         0x40 + d.below(18),
                         0x61,
                         d.below(0x90),
                         0x20 + d.below(32),
                         ~u64{0}};
    b.control.exit_code = codes[d.below(11)];
    if (shell.cores[core].reschedule && d.one_in(2))
        b.control.exit_code = 0x60;
    if (b.control.exit_code == 0x40 + 18)
        b.control.exit_code = 0x40; // a machine check stops the kernel, as it should
    if (next_ >= steps_.size())
        b.control.exit_code = 0x72; // the end: a CPUID that its VMM sees
    b.control.exit_info_1 = d.word();
    b.control.exit_info_2 = d.word();
    b.control.exit_int_info = d.one_in(4) ? interrupted_event(d) : 0;
    b.control.event_inj = 0;
    b.save.rip += d.below(16);
    b.control.next_rip = b.save.rip + d.below(20);
    if (d.one_in(2))
        b.control.int_ctl &= ~svm::int_ctl::V_IRQ;
    log_.push_back("core " + std::to_string(core) + ": guest exits with code " +
                   std::to_string(b.control.exit_code));
    journal_begin();
    guest_draw_ = d;
}

void Sequence::take_interrupt(u32 core) {
    ShellCore& here = shell.cores[core];
    if (here.reschedule) {
        here.reschedule = false;
        core_reschedule(core);
    } else if (here.timer <= shell.now) {
        here.timer = no_deadline;
        core_timer(core);
    } else {
        shell.now += guest_draw_.below(5'000);
        const u32 v = guest_draw_.below(256);
        if (irq_of_vector[v] != 0)
            core_interrupt(core, static_cast<u8>(v));
    }
}

void Sequence::run() {
    current = this;
    scenario_.build();
    for (const u32 t : {sel::thread2, sel::thread3, sel::thread1})
        scenario_.start(t);
    // A few frames are near the end of their generations.
    for (Frame f = pool_first; f < pool_first + 4; ++f) {
        journal_begin();
        frames[f].generation = max_generation - 2 + (f - pool_first) % 4;
    }
    scenario_.s.after_call = check_call;
    scenario_.s.guest = [this](u32 core, svm::Vmcb& b) { be_guest(core, b); };
    shell.take_interrupt = [](u32 core) { current->take_interrupt(core); };
    log_.clear();
    while (next_ < steps_.size())
        run_step(take_step());
    statistics.guest_entries += scenario_.s.guest_entries;
}

} // namespace

size_t run_sequence(const std::vector<Step>& steps, std::vector<std::string>& log) {
    used = 0;
    Sequence(steps, log).run();
    return used;
}

size_t failed_after() { return used; }

} // namespace horos::test
