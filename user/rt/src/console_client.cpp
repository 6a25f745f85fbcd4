#include <horos/abi/start_page.hpp>
#include <horos/rt/calls.hpp>
#include <horos/rt/console_client.hpp>

namespace horos::rt {

void ConsoleClient::attach() {
    auto* page = reinterpret_cast<abi::ConsolePage*>(abi::console_page_address);
    output_.attach(&page->output, page->output_bytes, abi::console_output_capacity);
    input_.attach(&page->input, page->input_bytes, abi::console_input_capacity);
    input_.want_bytes();
}

void ConsoleClient::wake_server() {
    // Badged: the capability itself says who wakes. No error is possible that one could act on.
    (void)user::signal(abi::start_selector::console, 0);
}

u32 ConsoleClient::write(const u8* bytes, u32 count) {
    u32 done = output_.push(bytes, count);
    if (done < count) {
        output_.want_room();
        done += output_.push(bytes + done, count - done); // room may have come in between
    }
    if (output_.must_wake()) {
        wake_server();
    }
    return done;
}

u32 ConsoleClient::read(u8* bytes, u32 count) {
    u32 done = input_.pop(bytes, count);
    if (done == 0) {
        input_.want_bytes();
        done = input_.pop(bytes, count);
    }
    if (done != 0 && input_.must_wake()) {
        wake_server();
    }
    return done;
}

ConsoleClient& console() {
    static constinit ConsoleClient client;
    return client;
}

} // namespace horos::rt
