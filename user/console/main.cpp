// The console server: COM1 is the terminal of the partition in focus, raw both ways; what the
// others write goes to the Horos log as labelled lines. It trusts nothing in the shared pages.
#include "key_filter.hpp"
#include "log_lines.hpp"
#include "serial_port.hpp"

#include <horos/rt/ring.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/time.hpp>

namespace horos::console {
namespace {

constexpr u32 root_index = abi::max_partitions; // the root task's own lines come through here
constexpr u32 no_focus = abi::max_partitions + 1;
constexpr u64 interrupt_bit = u64{1} << 40;
// The server is more urgent than any partition of its core: without a rest now and then, one that
// writes or wakes without end would take their time.
constexpr u32 rounds_between_rests = 64;
constexpr u32 chunk = 256; // of one partition at a time, so that none keeps the others waiting

struct Channel {
    rt::RingConsumer output;
    rt::RingProducer input;
    LogLines lines;
    abi::Console kind = abi::Console::none;
    bool there = false;
};

class Server {
public:
    void open();
    [[noreturn]] void run();

private:
    void attach(u32 index, std::string_view name, abi::Console kind);
    bool move_output(u32 index);
    bool move_terminal_output(Channel& channel, u32 index);
    void flush_terminal();
    void wake(u32 index) const;
    bool read_keys();
    void handle_key(char c);
    void pass_to_focus(char c);
    void set_focus(u32 index);
    void list();
    void tell(std::string_view text);
    bool sleep_needed();

    const abi::ConsoleTable& table_ =
        *reinterpret_cast<const abi::ConsoleTable*>(abi::console_table_address);
    Channel channels_[abi::max_partitions + 1];
    SerialPort serial_;
    KeyFilter keys_;
    u32 focus_ = no_focus;
    u8 pending_[chunk]; // taken from the focused partition, not yet in the UART
    u32 pending_count_ = 0;
    u32 pending_at_ = 0;
};

void Server::attach(u32 index, std::string_view name, abi::Console kind) {
    auto* page =
        reinterpret_cast<abi::ConsolePage*>(abi::console_pages_address + index * abi::frame_size);
    Channel& channel = channels_[index];
    channel.output.attach(&page->output, page->output_bytes, abi::console_output_capacity);
    channel.input.attach(&page->input, page->input_bytes, abi::console_input_capacity);
    channel.lines.set_name(name);
    channel.kind = kind;
    channel.there = true;
}

void Server::open() {
    const u32 count =
        table_.partition_count < abi::max_partitions ? table_.partition_count : abi::max_partitions;
    for (u32 i = 0; i < count; ++i) {
        attach(i, rt::field_text(table_.names[i]), table_.console[i]);
    }
    attach(root_index, {}, abi::Console::log);
    const bool terminal =
        serial_.open(abi::start_selector::first_ports, abi::start_selector::first_irq,
                     abi::start_selector::notification(0), interrupt_bit);
    focus_ = terminal && table_.focus < count ? table_.focus : no_focus;
    if (!terminal) {
        log_bytes("horos: console: no second serial port, all output goes to this log\n");
    }
}

void Server::wake(u32 index) const {
    if (index != root_index) { // the root task does not wait for room
        (void)user::signal(abi::console_first_signal + index, 0);
    }
}

void Server::flush_terminal() {
    while (pending_at_ != pending_count_) {
        const u32 room = serial_.room();
        if (room == 0) {
            serial_.want_room();
            return;
        }
        const u32 left = pending_count_ - pending_at_;
        const u32 count = left < room ? left : room;
        serial_.write(pending_ + pending_at_, count);
        pending_at_ += count;
    }
}

// Takes more only when the UART has taken what was there: the ring then tells the partition to
// wait.
bool Server::move_terminal_output(Channel& channel, u32 index) {
    flush_terminal();
    if (pending_at_ != pending_count_) {
        return false;
    }
    pending_at_ = 0;
    pending_count_ = channel.output.pop(pending_, chunk);
    if (pending_count_ == 0) {
        return false;
    }
    flush_terminal();
    if (channel.output.must_wake()) {
        wake(index);
    }
    return true;
}

// Whether there may be more.
bool Server::move_output(u32 index) {
    Channel& channel = channels_[index];
    if (index == focus_) {
        return move_terminal_output(channel, index);
    }
    u8 bytes[chunk];
    const u32 count = channel.output.pop(bytes, chunk);
    if (count == 0) {
        return false;
    }
    if (channel.kind != abi::Console::none) {
        channel.lines.put({reinterpret_cast<const char*>(bytes), count});
    }
    if (channel.output.must_wake()) {
        wake(index);
    }
    return true;
}

// The server's own words on the terminal, between what partitions write. Rare: it waits.
void Server::tell(std::string_view text) {
    for (const char c : text) {
        for (u32 tries = 0; tries < 100'000 && serial_.room() == 0; ++tries) {
        }
        const u8 byte = static_cast<u8>(c);
        serial_.write(&byte, 1);
    }
}

void Server::set_focus(u32 index) {
    if (index >= abi::max_partitions || !channels_[index].there) {
        return tell("\r\n[horos: no such partition]\r\n");
    }
    for (u32 tries = 0; tries < 100'000 && pending_at_ != pending_count_; ++tries) {
        flush_terminal();
    }
    pending_at_ = pending_count_;
    channels_[index].lines.flush();
    focus_ = index;
    rt::Text<80> line;
    line.format("\r\n[horos: console of {}]\r\n", rt::field_text(table_.names[index]));
    tell(line.view());
}

void Server::list() {
    for (u32 i = 0; i < abi::max_partitions; ++i) {
        if (channels_[i].there) {
            rt::Text<80> line;
            line.format("\r\n[horos: {} {}{}]", i, rt::field_text(table_.names[i]),
                        i == focus_ ? " *" : "");
            tell(line.view());
        }
    }
    tell("\r\n");
}

void Server::pass_to_focus(char c) {
    if (focus_ >= abi::max_partitions) {
        return;
    }
    Channel& channel = channels_[focus_];
    const u8 byte = static_cast<u8>(c);
    channel.input.push(&byte, 1); // a full ring loses it, as a UART would
    if (channel.input.must_wake()) {
        wake(focus_);
    }
}

void Server::handle_key(char c) {
    const KeyAction action = keys_.key(c);
    switch (action.kind) {
    case KeyAction::Kind::none:
        return;
    case KeyAction::Kind::pass:
        return pass_to_focus(action.byte);
    case KeyAction::Kind::list:
        return list();
    case KeyAction::Kind::by_number:
        return set_focus(action.number);
    case KeyAction::Kind::by_name:
        for (u32 i = 0; i < abi::max_partitions; ++i) {
            if (channels_[i].there && rt::field_text(table_.names[i]) == action.name) {
                return set_focus(i);
            }
        }
        return set_focus(abi::max_partitions);
    }
}

// Whether there may be more. The line is an edge: bytes left behind would not raise it again.
bool Server::read_keys() {
    u8 byte;
    u32 count = 0;
    while (count < chunk && serial_.read(byte)) {
        handle_key(static_cast<char>(byte));
        ++count;
    }
    return count == chunk;
}

// Asks every producer for a wake-up, then looks again.
bool Server::sleep_needed() {
    for (Channel& channel : channels_) {
        if (channel.there) {
            channel.output.want_bytes();
        }
    }
    const bool terminal_busy = pending_at_ != pending_count_;
    for (u32 i = 0; i <= root_index; ++i) {
        if (channels_[i].there && !(i == focus_ && terminal_busy) &&
            channels_[i].output.fill() != 0) {
            return false;
        }
    }
    return true;
}

void Server::run() {
    bool keys_left = false;
    for (u32 rounds = 1;; ++rounds) {
        if (rounds % rounds_between_rests == 0) {
            rt::sleep_until(rt::now() + rt::ticks_of_ms(1, rt::start_page().tsc_khz));
        }
        keys_left = keys_left && read_keys();
        bool more = keys_left;
        for (u32 i = 0; i <= root_index; ++i) {
            more |= channels_[i].there && move_output(i);
        }
        if (more || !sleep_needed()) {
            continue;
        }
        const u64 bits = rt::wait_events();
        if ((bits & interrupt_bit) != 0) {
            serial_.clear_interrupt();
            keys_left = read_keys();
        }
    }
}

} // namespace
} // namespace horos::console

void horos::rt::program_main(const abi::StartPage&) {
    static console::Server server;
    server.open();
    server.run();
}
