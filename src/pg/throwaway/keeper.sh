# Keeps a PostgreSQL server for as long as somebody holds the other end of its standard input.
#
# Arguments: folder to make its own folder in, encoding, locale, then what the server itself is
# given. Says "folder PATH" or "error" once. Then it does what its input says, a word a line:
# "programs" (the next line is the folder of the server's programs), "start" (make a cluster and
# start its server), "serve" (start the server of the cluster that is in PATH/data), "halt" (stop it
# as its owner would, then make the file PATH/halted), "keep" (leave server and folder behind). At
# the end of its input it stops the server and removes the folder. It is the leader of a process
# group of its own: nobody's Ctrl-C comes here, and a signal to the group reaches what works in the
# folder alone.
base=$1 encoding=$2 locale=$3
shift 3
umask 077
bin= worker= kept=

alive() { kill -0 "$1" 2>/dev/null; }
# Others look at these files at any moment: they are there with their line, or not at all.
tell() { echo "$2" >"$dir/$1.new" && mv -f "$dir/$1.new" "$dir/$1"; }
nap() { sleep 0.1 2>/dev/null || sleep 1; }

clear_up() {
    trap '' HUP INT QUIT TERM
    if [ -n "$kept" ]; then
        rm -f "$dir/keeper"
        return
    fi
    # What is about to start the server looks at this; said again and again for what starts meanwhile.
    : >"$dir/ended"
    # Others of the group than the server may be at work.
    kill -QUIT 0
    tries=0
    while [ -n "$worker" ] && alive "$worker"; do
        tries=$((tries + 1))
        if [ $tries -gt 150 ]; then
            kill -KILL "$(head -n 1 "$dir/data/postmaster.pid")" "$worker"
        fi
        if [ $tries -gt 160 ]; then break; fi
        kill -QUIT 0
        nap
    done 2>/dev/null
    tries=0
    # Backends may still be writing their last words.
    while rm -rf "$dir"; [ -e "$dir" ] && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
        nap
    done 2>/dev/null
}

# What a keeper left that was killed itself, with the server if it still runs.
clear_old() {
    for old in "$base"/pgark-throwaway.*; do
        if [ "$old" = "$dir" ] || [ ! -f "$old/keeper" ] || [ ! -O "$old/keeper" ]; then continue; fi
        if alive "$(cat "$old/keeper")"; then continue; fi
        if [ -f "$old/data/postmaster.pid" ]; then
            pid=$(head -n 1 "$old/data/postmaster.pid")
            # The number may be somebody else's by now.
            if [ -r "/proc/$pid/cmdline" ]; then
                line=$(tr '\0' ' ' <"/proc/$pid/cmdline")
            else
                line=$(ps -o args= -p "$pid")
            fi
            case $line in
            *"$old/data"*)
                kill -QUIT "$pid"
                tries=0
                while alive "$pid" && [ $tries -lt 100 ]; do
                    tries=$((tries + 1))
                    nap
                done
                ;;
            esac
        fi
        rm -rf "$old"
    done 2>/dev/null
}

work() {
    if [ "$1" = start ]; then
        if ! "$bin/initdb" -D "$dir/data" -U postgres -A trust -E "$encoding" "--locale=$locale" -N \
            >"$dir/log" 2>&1; then
            tell failed initdb
            return
        fi
        : >"$dir/log"
    fi
    shift
    if [ -e "$dir/ended" ]; then return; fi
    # Locales that the cluster names and this system lacks.
    if [ -d "$dir/locale" ]; then export LOCPATH="$dir/locale"; fi
    "$bin/postgres" -D "$dir/data" -c "unix_socket_directories=$dir" "$@" >>"$dir/log" 2>&1
    tell failed server
}

if ! dir=$(mktemp -d "$base/pgark-throwaway.XXXXXX" 2>/dev/null); then
    echo error
    exit 1
fi
trap clear_up EXIT
trap 'exit 1' HUP INT TERM
tell keeper $$
echo "folder $dir"
# Nobody reads any more, and what is started must not hold the pipe.
exec >/dev/null 2>&1
clear_old
while read -r word; do
    case $word in
    programs) IFS= read -r bin ;;
    start | serve)
        work "$word" "$@" </dev/null &
        worker=$!
        ;;
    halt)
        kill -INT "$(head -n 1 "$dir/data/postmaster.pid")"
        wait "$worker"
        worker=
        rm -f "$dir/failed"
        : >"$dir/halted"
        ;;
    keep) kept=yes ;;
    esac
done
