"""Common English words by what they do in a sentence, for the sentence grammar.

Only lists and the regular endings: knows nothing of sentences.
"""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split(",") if part.strip())


NAMES = _split("""
Adam Alan Alex Alice Amy Andrew Angela Anna Anne Barbara Ben Betty Bill Bob Brian Carl Carol
Charles Chris Claire Daniel David Diana Donald Dorothy Edward Elizabeth Ella Emily Emma Eric Ethan
Eva Frank Fred Gary George Grace Hannah Harry Helen Henry Jack Jacob James Jane Jason Jennifer
Jenny Jessica Jim Joan Joe John Judy Julia Karen Kate Kevin Laura Linda Lisa Lucy Luke Margaret
Maria Mark Martha Martin Mary Matthew Max Michael Mike Molly Nancy Nick Nina Oliver Olivia Oscar
Patrick Paul Peter Philip Rachel Ralph Richard Robert Roger Rose Ruth Sally Sam Sandra Sarah Scott
Simon Sophie Stephen Steve Susan Ted Thomas Tim Tina Tom Tony Victor Walter William
""")
PLACES = _phrases("""
America, Africa, Asia, Australia, Berlin, Boston, Brazil, California, Canada, Chicago, China, Egypt,
England, Europe, Florida, France, Germany, Greece, India, Ireland, Italy, Japan, London, Mexico,
Moscow, New York, Paris, Rome, Russia, Scotland, Spain, Sweden, Texas, Turkey, Vienna, Washington
""")
PEOPLE = _split("""
actor artist aunt baby baker boss boy brother captain child cook cousin dancer daughter dentist
doctor driver engineer family farmer father friend gardener girl girlfriend grandfather grandmother
guard guest guide husband judge king lady lawyer leader man manager mother neighbor nurse officer
owner painter parent partner patient pilot player poet policeman president prince princess
professor queen reporter sailor scientist secretary singer sister soldier son stranger student
teacher thief uncle visitor waiter wife winner woman worker writer
""")
PLURAL_PEOPLE = _split("""
actors artists babies boys brothers children cousins daughters doctors drivers farmers friends
girls guests kids ladies lawyers men neighbors nurses parents people players sailors scientists
sisters soldiers sons strangers students teachers tourists visitors women workers writers
""")
THINGS = _split("""
address album alarm answer apple arm bag ball basket bath battery bed bell belt bicycle bill blanket
board boat book bottle bowl box branch brick bridge brush bucket button cable calendar camera candle
card carpet case chain chair circle clock cloth coat coin computer cover cup curtain desk diary
dictionary dish doll door drawer dress engine envelope fan fence file film flag flower fork frame
game gate gift glass glove guitar hammer handle hat helmet horn hose image jacket jar key kettle
knife ladder lamp leaf letter light line list lock machine magazine map mask match medal message
mirror model needle net newspaper note notebook number oven package page paint painting paper parcel
pen pencil phone photo piano picture pillow pipe plan plant plate pocket poem pot present prize
purse puzzle question radio report ring rock rope ruler sack scarf screen seat sheet shelf shell
ship shirt shoe shovel sign sofa song spoon stamp statue stick stone story string suitcase table
tape tent test ticket tie toothbrush towel toy trap tray tree umbrella vase video violin wallet
watch wheel whistle window wire
""")
PLURAL_THINGS = _split("""
answers apples bags balls books boots bottles boxes branches bricks cards chairs clothes coins cups
curtains dishes doors eggs eyes fingers flowers forks games gifts glasses gloves hands houses ideas
keys knives leaves letters lights matches maps mistakes needles notes pages papers pencils pens
photos pictures plants plates pockets potatoes questions records rocks roses rules seeds shoes signs
socks songs spoons stairs stamps stars stones stories tables things tickets tools toys trees
trousers walls windows words
""")
ANIMALS = _split("""
ant bear bee bird bull butterfly camel cat chicken cow deer dog donkey duck eagle elephant fish fly
fox frog goat goose hen horse kitten lamb lion monkey mouse owl parrot pig pony puppy rabbit rat
sheep snake spider squirrel tiger turtle whale wolf
""")
FOODS = _split("""
bacon beans beef bread breakfast butter cabbage cake candy carrots cheese cherries chicken chocolate
cookies corn cream dinner dessert eggs fish flour fruit garlic grapes ham honey jam lemon lettuce
lunch meat mushrooms nuts oil onions oranges pasta peaches peanuts pears peas pepper pie pizza
popcorn potatoes rice salad salt sandwiches sauce soup steak strawberries sugar supper toast
tomatoes vegetables
""")
DRINKS = _phrases(
    "beer, coffee, hot chocolate, juice, lemonade, milk, tea, water, wine, cold water"
)
ROOMS = _split("""
attic barn basement bathroom bedroom cabin cellar closet corner garage garden hall hallway house
kitchen office tent yard library
""")
SPOTS = _split("""
airport apartment bakery bank beach bridge building bus camp castle cave church cinema city club
coast college country court desert factory farm field forest gym harbor hill hospital hotel house
island lake library market meadow mine mountain museum office park party path playground pool port
prison restaurant river road roof school sea shop shore square stadium station store street
studio supermarket temple theater tower town train tunnel university valley village wood zoo
""")
VEHICLES = _split("airplane bicycle boat bus car ferry jeep plane ship taxi train truck van wagon")
PARTS = _split("""
ankle arm back cheek chest chin ear elbow eye face finger foot forehead hair hand head heart knee
leg lip mouth nail neck nose shoulder skin stomach thumb toe tongue tooth throat
""")
IDEAS = _split("""
accident action advice age air anger area art attempt beauty business chance change choice comfort
control cost courage culture danger death decision design difference direction dream duty education
effect effort energy event example experience fact faith fear feeling fire force freedom future
growth habit happiness health heat history hope idea industry interest job joy judgment knowledge
language law lesson life love luck magic meaning memory method mind money mood movement music nature
news noise number opinion order pain patience peace plan pleasure poetry power practice price pride
problem progress promise purpose quality reason religion respect rest result rhythm risk role
science secret sense shape silence size skill sleep society sound space speech speed spirit sport
state strength success system taste theory thought time trade training travel trouble truth value
view voice war way wealth weather weight will wisdom wish wonder work world youth
""")
SUBJECTS = _split("""
art biology chemistry chess dancing drawing English fishing football French geography German golf
history hockey law mathematics medicine music painting physics poetry politics reading science
singing soccer Spanish swimming tennis writing
""")
ADJECTIVES = _split("""
ancient angry awful bad basic beautiful big bitter blind bold brave brief bright broad broken busy
calm careful cheap clean clear clever cold common complete cool correct crazy cruel curious curly
dangerous dark dead deaf deep delicate different difficult dirty double dry dull dusty early eager
easy empty equal exact excellent expensive extra fair false famous fancy fast fat favorite fierce
final fine firm first flat foreign free fresh friendly frozen full funny gentle giant glad golden
good grand great happy hard heavy helpful high hollow honest horrible hot huge hungry important
innocent jealous kind large last late lazy light little local lonely long loose loud lovely low
lucky main major mighty modern narrow nasty natural neat nervous new nice noisy normal odd old open
ordinary original painful pale perfect plain pleasant polite poor popular pretty private proud
public pure quick quiet rapid rare raw ready real recent rich ripe rotten rough round royal rude sad
safe secret separate serious several shallow sharp shiny short shy silent silly similar simple
single slow small smart smooth soft solid sore sour special square steady steep stiff strange strict
strong stupid sudden sunny sweet tall terrible thick thin tight tiny tired tough true typical ugly
unusual upper useful usual various warm weak wealthy wet whole wicked wide wild wise wonderful
wooden worn worthy wrong young
""")
MOODS = _split("""
afraid alone angry asleep awake bored busy calm certain cold confused curious excited fine glad
grateful happy healthy hungry ill impatient lonely lucky nervous pleased proud quiet ready sad safe
sick silly sleepy sorry strong sure surprised thirsty tired upset warm weak well worried wrong
""")
COLORS = _split("black blue brown gold gray green orange pink purple red silver white yellow")
ADVERBS = _split("""
accidentally actually again almost already alone always anyway apparently badly barely briefly
carefully certainly clearly completely constantly correctly quietly deeply easily eagerly
especially eventually exactly finally freely frequently gently gladly gradually happily hardly
heavily honestly immediately later loudly mostly naturally nearly never nicely normally obviously
occasionally often openly partly patiently perfectly politely possibly probably properly proudly
quickly quietly rapidly rarely really recently regularly sadly safely secretly seriously sharply
silently simply slowly smoothly softly sometimes soon still strangely strongly suddenly surely
together truly twice usually warmly widely wildly
""")
MANNERS = _split("""
again alone badly calmly carefully clearly easily gently happily loudly nervously nicely often
politely properly quickly quietly sadly safely silently slowly softly suddenly together twice well
""")
TIMES = _phrases("""
today, tomorrow, tonight, yesterday, this morning, this afternoon, this evening, last night, last
week, last month, last year, last summer, next week, next month, next year, next time, again, all
day, all night, all the time, at dawn, at first, at last, at midnight, at night, at noon, at once,
before breakfast, after dinner, after school, after the storm, before lunch, during the war, every
day, every morning, every night, every week, every year, for a while, for an hour, for many years,
for the first time, in a hurry, in a minute, in the end, in the evening, in the middle of the night,
in the spring, in the summer, in the winter, in the autumn, later, long ago, many times, now, once a
week, once more, right away, right now, so far, soon, these days, until midnight, two days ago,
without a word, as usual, from time to time, sooner or later
""")
DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _split(
    "January February March April May June July August September October November December"
)
WEATHER = _phrases("""
rainy, sunny, cloudy, windy, foggy, stormy, warm, cold, hot, cool, wet, dry, dark, freezing, mild
""")
NUMBERS = _phrases("""
two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen,
sixteen, seventeen, eighteen, nineteen, twenty, twenty five, thirty, forty, fifty, sixty, seventy,
eighty, ninety, a hundred, two hundred, a thousand, a dozen, several, many, a few, enough
""")
ORDINALS = _split("first second third fourth fifth sixth seventh eighth ninth tenth last next")
PREPOSITIONS = _split("""
above across against along among around at before behind below beneath beside between beyond by down
from in inside into near of off on onto out outside over past since through to toward under until up
upon with within without
""")
NATIONS = _split("""
American British Chinese English French German Greek Indian Irish Italian Japanese Mexican Russian
Spanish Swedish Turkish
""")
SHORT = _phrases("""
Yes, No, Hello, Thank you, Good morning, Good evening, Good night, Good afternoon, Goodbye, Come in,
Of course, Please sit down, Excuse me, I am sorry, Not yet, Never mind, Maybe later, No problem,
See you soon, See you tomorrow, Well done, Good luck, Be careful, Look out, Hurry up, Wait a minute,
I see, I think so, I hope so, I know, Nothing at all, Take care, You are welcome, Happy birthday,
How are you?, What is it?, Who is there?, Where are we?, Why not?, What happened?, Are you sure?,
Can you hear me?, Is it true?, What time is it?, How much is it?, Really?, And then?, What else?,
Keep going, Stop it, Listen to me, Follow me, Let us go, Help me, Come here, Go away, Be quiet,
Try again, Don't worry, It's all right, That's fine, I don't know, Let's begin, We'll see,
Here you are, There it is, So do I, Me too, Congratulations, Welcome home, Nice to meet you
""")

# base past participle; where the last is missing it is the past.
_IRREGULAR = """
beat beat beaten, bite bit bitten, blow blew blown, break broke broken, bring brought, build built,
buy bought, catch caught, choose chose chosen, control controlled, cut cut, draw drew drawn, drop
dropped, eat ate eaten, feed fed, feel felt, find found, forget forgot forgotten, forgive forgave
forgiven, get got, give gave given, grab grabbed, hear heard, hide hid hidden, hit hit, hold held,
hurt hurt, keep kept, know knew known, lead led, leave left, lose lost, make made, meet met, pay
paid, put put, read read, ride rode ridden, ring rang rung, see saw seen, sell sold, send sent,
shake shook shaken, shoot shot, show showed shown, shut shut, sing sang sung, spend spent, steal
stole stolen, stop stopped, sweep swept, take took taken, teach taught, tear tore torn, throw threw
thrown, understand understood, wear wore worn, win won, wrap wrapped, write wrote written
"""
_REGULAR = """
accept add admire adore answer attack avoid bake believe blame borrow burn call carry change chase
check clean climb close collect cook copy count cover cross damage deliver describe design destroy
discover enjoy examine expect explain fill finish fix fold follow guard guess guide hate help ignore
imagine improve invent invite join judge kick kill kiss learn lift like love mark measure mention
miss mix move need notice offer open order own pack paint pass pick plant please point polish praise
prepare press print produce promise protect prove pull punish push raise reach receive recognize
record refuse remember remove repair repeat replace report respect return ruin save search serve
share smell study support surprise taste test thank touch trust turn use visit want warn wash watch
waste welcome
"""
_INTRANSITIVE = """
act, agree, appear, argue, arrive, bark, begin began begun, bleed bled, bow, breathe, come came
come, complain, cough, cry, dance, decide, disappear, dream, drive drove driven, fail, fall fell
fallen, fight fought, float, fly flew flown, freeze froze frozen, go went gone, grow grew grown,
happen, hesitate, jump, kneel knelt, laugh, leave left, lie lay lain, listen, live, march, nod
nodded, pray, relax, rest, rise rose risen, run ran run, scream, shine shone, shout, sigh, sing sang
sung, sink sank sunk, sit sat, sleep slept, slip slipped, smile, sneeze, speak spoke spoken, stand
stood, stay, struggle, swim swam swum, talk, think thought, travel, tremble, vanish, wait, wake woke
woken, walk, wander, wave, weep wept, whisper, win won, wonder, work, worry, yawn, yell
"""
Verb = tuple[str, str, str, str, str]  # base, third person, past, participle, -ing


def _third(base: str) -> str:
    if base.endswith(("s", "sh", "ch", "x", "z", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def _past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + "ed"


_DOUBLED = frozenset(
    _split("""
begin control cut drop forget get grab hit nod put run shut sit slip stop swim win wrap
""")
)


def _ing(base: str) -> str:
    if base in _DOUBLED:
        return base + base[-1] + "ing"
    if base in ("lie", "die", "tie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1] + "ing"
    return base + "ing"


def _verb(forms: str) -> Verb:
    base, *rest = forms.split()
    past = rest[0] if rest else _past(base)
    return base, _third(base), past, rest[-1] if rest else past, _ing(base)


VERBS = tuple(_verb(v) for v in (*_phrases(_IRREGULAR), *_split(_REGULAR)))
INTRANSITIVE = tuple(_verb(v) for v in _phrases(_INTRANSITIVE))
