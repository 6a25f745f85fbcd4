// horos-pack: flat programs, system descriptions, boot bundles.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "tools/pack/commands.hpp"

int main(int argc, char** argv) {
    CLI::App app{"Packs what Horos boots: flat programs, compiled system descriptions, bundles."};
    app.name("horos-pack");
    app.require_subcommand(1);
    using namespace horos::tools::pack;
    add_check(app);
    add_build(app);
    add_inspect(app);
    add_flatten(app);
    const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
    const bool known = argc < 2 || argv[1][0] == '-' ||
                       std::any_of(
                           commands.begin(), commands.end(),
                           [&](const CLI::App* command) { return command->get_name() == argv[1]; });
    if (!known) {
        std::fprintf(stderr, "horos-pack: error: there is no command '%s'\n%s", argv[1],
                     "Run with --help for more information.\n");
        return 2;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int code = app.exit(error);
        return code == 0 || code == 1 ? code : 2; // 1: the command said what is wrong
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
