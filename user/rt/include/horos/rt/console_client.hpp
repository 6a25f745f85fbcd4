// A partition's end of its console.
#pragma once
#include <string_view>

#include <horos/rt/ring.hpp>

namespace horos::rt {

class ConsoleClient {
public:
    // After the start, once: takes the page that root has mapped. Empties nothing.
    void attach();
    // Takes as many bytes as there is room for, and wakes the server if it sleeps. If fewer were
    // taken than offered, the server sets wake_bit::console in thread 0's notification when there
    // is room again.
    u32 write(const u8* bytes, u32 count);
    u32 write(std::string_view text) {
        return write(reinterpret_cast<const u8*>(text.data()), static_cast<u32>(text.size()));
    }
    // Input; wake_bit::console is set in thread 0's notification when more comes after it was
    // found empty.
    u32 read(u8* bytes, u32 count);
    bool has_input() { return input_.fill() != 0; }
    u32 room() { return output_.room(); }

private:
    void wake_server();

    RingProducer output_;
    RingConsumer input_;
};

// The program's console; attached before program_main.
ConsoleClient& console();

} // namespace horos::rt
