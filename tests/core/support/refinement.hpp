// Each hypercall, and each other way into the core, against spec/: the specification runs first, on
// the very state that the kernel will find; what it leaves is noted and taken back; then the kernel
// runs, and its result word, its values, everything it asked of the shell and the whole new state
// must be the same.
#pragma once
#include "fake_shell.hpp"
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace horos::test {

class Prediction {
public:
    Prediction() : outer_(innermost) { innermost = this; }
    ~Prediction() { innermost = outer_; }
    Prediction(const Prediction&) = delete;
    Prediction& operator=(const Prediction&) = delete;

    static inline Prediction* innermost = nullptr;

    // Runs the specification; the lock is held. A new step begins (journal_begin).
    void make(u32 core, u64 number, const std::array<u64, 6>& arguments);
    void make_event(u32 core, const char* name, const std::function<u64()>& specified);
    // Throws a Violation that names the first difference.
    void compare(u64 result);
    // The kernel is about to enter a guest: the specification of the call ends there.
    void compare_at_entry();

private:
    struct Page {
        const u8* page;
        std::array<u8, frame_size> content;
    };
    Prediction* outer_;
    u32 core_ = 0;
    u64 documented_ = 0; // errors that the manual names for the call
    std::string name_;
    u64 result_ = 0;
    bool compared_ = false;
    std::vector<std::unique_ptr<Page>> pages_;
    std::vector<Core> cores_;
    std::array<u32, 256> irqs_{};
    Values values_{};
    std::vector<std::string> shell_events_;

    void run(u32 core, const std::function<u64()>& specified);
    void take_back();
    void compare_state() const;
    void compare_page(const u8* page, const u8* expected) const;
    [[noreturn]] void differ(const std::string& what) const;
};

} // namespace horos::test
