#include "tools/common/diagnostics.hpp"

#include <utility>

namespace horos::tools {

std::string Diagnostic::text() const {
    std::string out = where.file;
    if (where.line != 0) {
        out += ":" + std::to_string(where.line) + ":" + std::to_string(where.column);
    }
    out += ": error: ";
    if (!key.empty()) {
        out += key + ": ";
    }
    return out + message;
}

void Diagnostics::error(Where where, std::string key, std::string message) {
    list_.push_back({std::move(where), std::move(key), std::move(message)});
}

std::string Diagnostics::text() const {
    std::string out;
    for (const Diagnostic& one : list_) {
        out += one.text() + "\n";
    }
    return out;
}

} // namespace horos::tools
