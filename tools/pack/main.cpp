// horos-pack: flat programs, system descriptions, boot bundles.
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
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
