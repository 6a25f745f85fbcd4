// Errors of the host tools: where, what is wrong, what is allowed. A tool collects as many as it
// can find, prints them all, and ends with a non-zero status.
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace horos::tools {

struct Where {
    std::string file;
    unsigned line = 0; // 1-based; 0 = the file as a whole
    unsigned column = 0;
};

struct Diagnostic {
    Where where;
    std::string key; // dotted path of the key, empty where there is none
    std::string message;

    [[nodiscard]] std::string text() const; // "file:3:7: error: memory: message"
};

class Diagnostics {
public:
    void error(Where where, std::string key, std::string message);
    [[nodiscard]] bool ok() const { return list_.empty(); }
    [[nodiscard]] const std::vector<Diagnostic>& list() const { return list_; }
    [[nodiscard]] std::string text() const; // one line each

private:
    std::vector<Diagnostic> list_;
};

// For errors after which nothing sensible can follow (a file that cannot be read or written).
struct Fatal : std::runtime_error {
    using std::runtime_error::runtime_error;
};

} // namespace horos::tools
